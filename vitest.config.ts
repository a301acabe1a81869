import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'tests/**/*.test.ts'],
    // ONNX Runtime is multi-threaded itself; forks keep a native crash in one file from taking the rest along.
    pool: 'forks',
    globalSetup: 'tests/global-setup.ts',
    testTimeout: 60_000,
    // Hooks compile, start browsers and write models: on a busy machine that takes longer than the default ten seconds.
    hookTimeout: 60_000,
  },
});
