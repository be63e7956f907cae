// How a result shows itself: the divider comes in from the right.

const LASTS = 450;

/** Move a divider to the middle; returns what stops it. Where motion is unwelcome it is there at once. */
export function reveal(move: (split: number) => void): () => void {
  move(50);
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return () => undefined;
  const started = performance.now();
  let frame = requestAnimationFrame(function step(at) {
    const t = Math.min(1, Math.max(0, (at - started) / LASTS));
    move(100 - 50 * (1 - (1 - t) ** 3));
    if (t < 1) frame = requestAnimationFrame(step);
  });
  return () => cancelAnimationFrame(frame);
}
