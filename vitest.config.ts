import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'tests/**/*.test.ts'],
    // ONNX Runtime is multi-threaded itself; forks keep a native crash in one file from taking the rest along.
    pool: 'forks',
    globalSetup: 'tests/global-setup.ts',
    testTimeout: 60_000,
  },
});
