// Version of Pare as models, reports and `--version` state it. A test holds it equal to package.json.
export const VERSION = '0.1.0';
