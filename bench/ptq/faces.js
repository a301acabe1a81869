// Faces from the outputs of the UltraFace detector: scores above a limit, greedy suppression of boxes that overlap.

const SCORE = 0.7;
const OVERLAP = 0.3;

export function countFaces({ scores, boxes }) {
  const s = scores.floats();
  const b = boxes.floats();
  const found = [];
  for (let i = 0; i < s.length / 2; i++) if (s[2 * i + 1] > SCORE) found.push({ score: s[2 * i + 1], box: b.subarray(4 * i, 4 * i + 4) });
  found.sort((x, y) => y.score - x.score);
  const kept = [];
  for (const f of found) if (kept.every((k) => overlap(k.box, f.box) <= OVERLAP)) kept.push(f);
  return kept.length;
}

/** Intersection over union of two boxes (left, top, right, bottom). */
function overlap(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (r) => (r[2] - r[0]) * (r[3] - r[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}
