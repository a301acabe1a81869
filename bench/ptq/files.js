// Varied files made from scratch for the file-type model: about forty kinds of text and binary, filled from a seeded generator, so that files of
// another seed have the same kinds and other content.
import { deflateRawSync, gzipSync } from 'node:zlib';
import { zipSync } from 'fflate';
import sharp from 'sharp';
import { Rng } from '../../dist/index.js';

const WORDS =
  `time year people way day man thing woman life child world school state family student group country problem hand part place case week company
system program question work government number night point home water room mother area money story fact month lot right study book eye job word business issue side kind head
house service friend father power hour game line end member law car city community name president team minute idea body information back parent face others level office door health person
art war history party result change morning reason research girl guy moment air teacher force education`.split(/\s+/);

class Writer {
  constructor(seed) {
    this.rng = new Rng(seed);
  }
  int(n) {
    return this.rng.integer(n);
  }
  word() {
    return WORDS[this.int(WORDS.length)];
  }
  Name() {
    const w = this.word();
    return w[0].toUpperCase() + w.slice(1);
  }
  words(n) {
    return Array.from({ length: n }, () => this.word()).join(' ');
  }
  sentence() {
    return `${this.Name()} ${this.words(4 + this.int(12))}.`;
  }
  text(n) {
    return Array.from({ length: n }, () => this.sentence()).join(' ');
  }
  lines(n, make) {
    return Array.from({ length: n }, (_, i) => make(i)).join('\n');
  }
  bytes(n) {
    return Uint8Array.from({ length: n }, () => this.int(256));
  }
}

const bytesOf = (parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p, 'latin1') : Buffer.from(p))));
const u32 = (n, little = true) => {
  const b = Buffer.alloc(4);
  if (little) b.writeUInt32LE(n);
  else b.writeUInt32BE(n);
  return b;
};

const TEXTS = {
  python: (w) =>
    `#!/usr/bin/env python3\n"""${w.sentence()}"""\nimport os\nimport sys\nfrom collections import defaultdict\n\n` +
    w.lines(8 + w.int(12), () => {
      const [a, b] = [w.word(), w.word()];
      return `def ${a}_${b}(self, ${a}, ${b}=None):\n    """${w.sentence()}"""\n    if ${b} is None:\n        raise ValueError("${w.words(3)}")\n    return [x for x in ${a} if x != ${w.int(99)}]\n`;
    }) +
    `\nif __name__ == '__main__':\n    print(sys.argv)\n`,
  c: (w) =>
    `/* ${w.sentence()} */\n#include <stdio.h>\n#include <stdlib.h>\n\n#define MAX_${w.word().toUpperCase()} ${w.int(999)}\n\n` +
    w.lines(
      6 + w.int(10),
      () =>
        `static int ${w.word()}_${w.word()}(const char *${w.word()}, size_t n)\n{\n\tint i;\n\tfor (i = 0; i < n; i++) {\n\t\tif (p[i] == ${w.int(200)})\n\t\t\treturn -1;\n\t}\n\treturn 0;\n}\n`,
    ) +
    '\nint main(int argc, char **argv)\n{\n\tprintf("%d\\n", argc);\n\treturn 0;\n}\n',
  java: (w) =>
    `package com.${w.word()}.${w.word()};\n\nimport java.util.List;\nimport java.util.ArrayList;\n\n/**\n * ${w.sentence()}\n */\npublic class ${w.Name()}${w.Name()} {\n` +
    w.lines(
      5 + w.int(8),
      () =>
        `    private final String ${w.word()};\n\n    public int get${w.Name()}(int index) {\n        return this.${w.word()}.length() + ${w.int(50)};\n    }\n`,
    ) +
    '}\n',
  javascript: (w) =>
    `'use strict';\nconst fs = require('fs');\n` +
    w.lines(
      6 + w.int(9),
      () =>
        `function ${w.word()}${w.Name()}(${w.word()}, callback) {\n  // ${w.sentence()}\n  var self = this;\n  return callback(null, { ${w.word()}: ${w.int(100)} });\n}\n`,
    ) +
    `module.exports = { ${w.word()} };\n`,
  rust: (w) =>
    `use std::collections::HashMap;\n\n` +
    w.lines(
      6 + w.int(8),
      () =>
        `/// ${w.sentence()}\npub fn ${w.word()}_${w.word()}(${w.word()}: &str) -> Result<u32, String> {\n    let mut total = ${w.int(9)};\n    match total {\n        0 => Ok(1),\n        _ => Err("${w.words(3)}".to_string()),\n    }\n}\n`,
    ),
  go: (w) =>
    `package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\n` +
    w.lines(
      6 + w.int(8),
      () =>
        `// ${w.sentence()}\nfunc ${w.word()}${w.Name()}(${w.word()} string) (int, error) {\n\tif err != nil {\n\t\treturn 0, fmt.Errorf("${w.words(3)}: %w", err)\n\t}\n\treturn ${w.int(99)}, nil\n}\n`,
    ),
  html: (w) =>
    `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>${w.words(3)}</title>\n<link rel="stylesheet" href="${w.word()}.css">\n</head>\n<body>\n` +
    w.lines(
      8 + w.int(12),
      () => `<div class="${w.word()}">\n<h2>${w.words(3)}</h2>\n<p>${w.text(2)}</p>\n<a href="/${w.word()}.html">${w.word()}</a>\n</div>`,
    ) +
    '\n</body>\n</html>\n',
  xml: (w) =>
    `<?xml version="1.0" encoding="UTF-8"?>\n<${w.word()}s>\n` +
    w.lines(
      15 + w.int(20),
      (i) => `  <item id="${i}" ${w.word()}="${w.int(999)}">\n    <name>${w.words(2)}</name>\n    <value>${w.int(9999)}</value>\n  </item>`,
    ) +
    '\n</items>\n',
  svg: (w) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="${100 + w.int(400)}" height="200" viewBox="0 0 200 200">\n` +
    w.lines(
      15 + w.int(20),
      () => `  <path d="M${w.int(200)} ${w.int(200)}L${w.int(200)} ${w.int(200)}z" fill="#${w.int(1 << 24).toString(16)}"/>`,
    ) +
    '\n</svg>\n',
  css: (w) =>
    w.lines(
      15 + w.int(15),
      () => `.${w.word()}-${w.word()} {\n  color: #${w.int(1 << 24).toString(16)};\n  margin: ${w.int(20)}px auto;\n  display: flex;\n}\n`,
    ),
  json: (w) =>
    JSON.stringify(
      Array.from({ length: 8 + w.int(20) }, (_, id) => ({
        id,
        name: w.words(2),
        tags: [w.word(), w.word()],
        value: w.rng.uniform(),
        ok: w.int(2) === 1,
      })),
      null,
      2,
    ),
  yaml: (w) =>
    `version: '3'\nservices:\n` +
    w.lines(
      6 + w.int(8),
      () =>
        `  ${w.word()}:\n    image: ${w.word()}:${w.int(9)}.${w.int(9)}\n    ports:\n      - "${w.int(9999)}:80"\n    environment:\n      - ${w.word().toUpperCase()}=${w.int(99)}`,
    ),
  ini: (w) =>
    w.lines(
      6 + w.int(8),
      () => `[${w.word()}]\n${w.word()} = ${w.int(999)}\n${w.word()}_path = /var/${w.word()}/${w.word()}\n; ${w.sentence()}\n`,
    ),
  csv: (w) =>
    `id,${w.word()},${w.word()},price,date\n` +
    w.lines(
      40 + w.int(60),
      (i) => `${i},${w.word()},"${w.words(2)}",${(w.rng.uniform() * 100).toFixed(2)},2023-0${1 + w.int(9)}-1${w.int(10)}`,
    ),
  tsv: (w) => w.lines(40 + w.int(60), (i) => `${i}\t${w.word()}\t${w.int(9999)}\t${w.words(3)}`),
  markdown: (w) =>
    `# ${w.words(3)}\n\n` +
    w.lines(
      6 + w.int(8),
      () =>
        `## ${w.words(2)}\n\n${w.text(3)}\n\n- ${w.words(4)}\n- **${w.word()}** ${w.words(3)}\n\n\`\`\`sh\nnpm install ${w.word()}\n\`\`\`\n`,
    ),
  text: (w) => w.lines(8 + w.int(10), () => `${w.text(5)}\n`),
  shell: (w) =>
    `#!/bin/bash\nset -e\n# ${w.sentence()}\n` +
    w.lines(
      8 + w.int(9),
      () =>
        `${w.word().toUpperCase()}="${w.word()}"\nif [ -z "$1" ]; then\n  echo "usage: $0 ${w.word()}"\n  exit 1\nfi\nfor f in *.${w.word()}; do\n  cat "$f" | grep ${w.word()} >> /tmp/out\ndone`,
    ),
  sql: (w) =>
    w.lines(
      6 + w.int(8),
      () =>
        `CREATE TABLE ${w.word()} (\n  id INTEGER PRIMARY KEY,\n  ${w.word()} VARCHAR(${w.int(255)}) NOT NULL\n);\nINSERT INTO ${w.word()} VALUES (${w.int(99)}, '${w.words(2)}');\nSELECT * FROM ${w.word()} WHERE id = ${w.int(99)};\n`,
    ),
  latex: (w) =>
    `\\documentclass{article}\n\\usepackage{amsmath}\n\\begin{document}\n\\title{${w.words(3)}}\n\\maketitle\n` +
    w.lines(
      6 + w.int(6),
      () => `\\section{${w.words(2)}}\n${w.text(4)}\n\\begin{equation}\nx_${w.int(9)} = \\frac{a}{${w.int(99)}}\n\\end{equation}\n`,
    ) +
    '\\end{document}\n',
  php: (w) =>
    `<?php\nnamespace App\\${w.Name()};\n\nclass ${w.Name()} extends Controller\n{\n` +
    w.lines(
      6 + w.int(6),
      () =>
        `    public function ${w.word()}($${w.word()})\n    {\n        $result = $this->${w.word()}->find(${w.int(99)});\n        return view('${w.word()}', ['${w.word()}' => $result]);\n    }\n`,
    ) +
    '}\n',
  ruby: (w) =>
    `require 'json'\n\nmodule ${w.Name()}\n  class ${w.Name()}\n    attr_reader :${w.word()}\n\n` +
    w.lines(
      6 + w.int(6),
      () =>
        `    # ${w.sentence()}\n    def ${w.word()}(${w.word()})\n      @${w.word()} ||= ${w.word()}.map { |x| x + ${w.int(99)} }\n    end\n`,
    ) +
    '  end\nend\n',
  makefile: (w) =>
    `CC = gcc\nCFLAGS = -O2 -Wall\n\n.PHONY: all clean\nall: ${w.word()}\n\n` +
    w.lines(8 + w.int(8), () => `${w.word()}.o: ${w.word()}.c ${w.word()}.h\n\t$(CC) $(CFLAGS) -c $< -o $@\n`) +
    'clean:\n\trm -f *.o\n',
  dockerfile: (w) =>
    `FROM ubuntu:22.04\nRUN apt-get update && apt-get install -y ${w.words(3)}\nWORKDIR /app\n${w.lines(5 + w.int(5), () => `COPY ${w.word()} /app/${w.word()}\nENV ${w.word().toUpperCase()}=${w.int(99)}\nRUN make ${w.word()}`)}\nCMD ["./${w.word()}"]\n`,
  batch: (w) =>
    `@echo off\r\nREM ${w.sentence()}\r\n${w.lines(8 + w.int(8), () => `set ${w.word().toUpperCase()}=%~dp0${w.word()}\r\nif not exist %1 goto end\r\ncopy /y ${w.word()}.exe C:\\${w.word()}\r`)}\n:end\r\npause\r\n`,
  powershell: (w) =>
    `param([string]$${w.Name()})\n${w.lines(8 + w.int(8), () => `function Get-${w.Name()} {\n    $${w.word()} = Get-ChildItem -Path C:\\${w.word()} | Where-Object { $_.Length -gt ${w.int(99)} }\n    Write-Host "${w.words(3)}"\n}\n`)}`,
  rtf: (w) => `{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Times New Roman;}}\n\\f0\\fs24 ${w.lines(8, () => `${w.text(4)}\\par`)}\n}\n`,
  email: (w) =>
    `From: ${w.word()}@${w.word()}.com\nTo: ${w.word()}@${w.word()}.org\nSubject: ${w.words(4)}\nDate: Mon, 1 May 2023 10:${10 + w.int(40)}:00 +0000\nMessage-ID: <${w.int(99999)}@${w.word()}.com>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n${w.text(12)}\n`,
  diff: (w) =>
    w.lines(
      4 + w.int(5),
      () =>
        `diff --git a/${w.word()}.c b/${w.word()}.c\nindex 1a2b3c4..5d6e7f8 100644\n--- a/${w.word()}.c\n+++ b/${w.word()}.c\n@@ -${w.int(99)},7 +${w.int(99)},8 @@\n ${w.words(5)}\n-${w.words(6)}\n+${w.words(7)}\n`,
    ),
  perl: (w) =>
    `#!/usr/bin/perl\nuse strict;\nuse warnings;\n\n${w.lines(6 + w.int(8), () => `sub ${w.word()} {\n    my ($self, $${w.word()}) = @_;\n    if ($line =~ /^${w.word()}\\s+(\\d+)$/) {\n        push @{$self->{${w.word()}}}, $1;\n    }\n    return;\n}\n`)}`,
  asm: (w) =>
    `section .text\nglobal _start\n${w.lines(20 + w.int(20), () => `${w.word()}_${w.int(99)}:\n    mov eax, ${w.int(999)}\n    push ebx\n    call ${w.word()}\n    jne ${w.word()}`)}\n`,
  ics: (w) =>
    `BEGIN:VCALENDAR\r\nVERSION:2.0\r\n${w.lines(6 + w.int(6), () => `BEGIN:VEVENT\r\nUID:${w.int(99999)}@${w.word()}.com\r\nDTSTART:202305${10 + w.int(18)}T100000Z\r\nSUMMARY:${w.words(3)}\r\nEND:VEVENT\r`)}\nEND:VCALENDAR\r\n`,
};

async function picture(w, format) {
  const width = 60 + w.int(100);
  const height = 60 + w.int(100);
  const [a, b, c] = [w.int(256), w.int(256), 1 + w.int(9)];
  const raw = Buffer.alloc(width * height * 3);
  for (let i = 0; i < raw.length; i++) raw[i] = (a + ((i * c) >> 5) + (((i / width) | 0) * b) / 64 + w.int(20)) & 255;
  return sharp(raw, { raw: { width, height, channels: 3 } })
    [format]()
    .toBuffer();
}

function wav(w) {
  const n = 4000 + w.int(4000);
  const samples = Buffer.alloc(2 * n);
  const f = 0.02 + 0.2 * w.rng.uniform();
  for (let i = 0; i < n; i++) samples.writeInt16LE(Math.round(9000 * Math.sin(f * i) + 900 * w.rng.normal()) | 0, 2 * i);
  const head = bytesOf(['WAVEfmt ', u32(16), [1, 0, 1, 0], u32(16000), u32(32000), [2, 0, 16, 0], 'data', u32(2 * n)]);
  return bytesOf(['RIFF', u32(head.length + 2 * n), head, samples]);
}

function bmp(w) {
  const side = 40 + 4 * w.int(10);
  const data = Buffer.alloc(side * side * 3);
  for (let i = 0; i < data.length; i++) data[i] = ((i >> 4) + w.int(9)) & 255;
  return bytesOf([
    'BM',
    u32(54 + data.length),
    u32(0),
    u32(54),
    u32(40),
    u32(side),
    u32(side),
    [1, 0, 24, 0],
    u32(0),
    u32(data.length),
    u32(2835),
    u32(2835),
    u32(0),
    u32(0),
    data,
  ]);
}

function tar(w) {
  const parts = [];
  for (let k = 0; k < 3 + w.int(4); k++) {
    const body = Buffer.from(w.text(10 + w.int(20)));
    const head = Buffer.alloc(512);
    head.write(`${w.word()}/${w.word()}.txt`, 0);
    head.write('0000644\0' + '0001750\0' + '0001750\0' + `${body.length.toString(8).padStart(11, '0')}\0` + '14412345670\0', 100);
    head.write('        0', 148);
    head.write('ustar\x0000user', 257);
    const sum = head.reduce((a, b) => a + b, 0);
    head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    parts.push(head, body, Buffer.alloc((512 - (body.length % 512)) % 512));
  }
  return bytesOf([...parts, Buffer.alloc(1024)]);
}

function pdf(w) {
  const stream = deflateRawSync(Buffer.from(w.text(60)));
  return bytesOf([
    `%PDF-1.${3 + w.int(5)}\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n`,
    `3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>\nendobj\n4 0 obj\n<< /Length ${stream.length} /Filter /FlateDecode >>\nstream\n`,
    stream,
    `\nendstream\nendobj\nxref\n0 5\n0000000000 65535 f \n0000000015 00000 n \ntrailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n${w.int(9999)}\n%%EOF\n`,
  ]);
}

function elf(w) {
  const head = Buffer.alloc(64);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
  head.set([3, 0, 62, 0, 1, 0, 0, 0], 16);
  head.set([64], 32);
  head.set([64, 0, 56, 0, 9, 0, 64, 0, 30, 0, 29, 0], 52);
  const code = Buffer.alloc(3000 + w.int(3000));
  const ops = [0x48, 0x89, 0xe5, 0x55, 0xc3, 0x90, 0xe8, 0x00, 0x00, 0x0f, 0x1f, 0x8b, 0x45, 0xff, 0x25, 0x5d];
  for (let i = 0; i < code.length; i++) code[i] = w.int(5) === 0 ? w.int(256) : ops[w.int(ops.length)];
  return bytesOf([
    head,
    Buffer.alloc(200),
    '/lib64/ld-linux-x86-64.so.2\0',
    code,
    '\0.symtab\0.strtab\0.shstrtab\0.text\0.data\0.bss\0libc.so.6\0',
    Buffer.alloc(300),
  ]);
}

const BINARIES = {
  png: (w) => picture(w, 'png'),
  jpeg: (w) => picture(w, 'jpeg'),
  gif: (w) => picture(w, 'gif'),
  webp: (w) => picture(w, 'webp'),
  tiff: (w) => picture(w, 'tiff'),
  bmp,
  wav,
  pdf,
  elf,
  tar,
  zip: (w) => zipSync({ [`${w.word()}.txt`]: Buffer.from(w.text(40)), [`${w.word()}/${w.word()}.csv`]: Buffer.from(TEXTS.csv(w)) }),
  gzip: (w) => gzipSync(Buffer.from(w.text(120))),
  random: (w) => w.bytes(2000 + w.int(3000)),
};

/** `perKind` files of each kind. */
export async function variedFiles(seed, perKind) {
  const files = [];
  for (let round = 0; round < perKind; round++) {
    for (const [kind, make] of Object.entries({ ...TEXTS, ...BINARIES })) {
      const made = make(new Writer(seed * 100_003 + files.length * 7919 + 1));
      const bytes = await made;
      files.push({ kind, bytes: typeof bytes === 'string' ? Buffer.from(bytes) : bytes });
    }
  }
  return files;
}
