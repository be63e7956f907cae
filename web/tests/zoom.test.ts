import { expect, test } from 'vitest';
import { clamped, fit, pannable, visible, zoomed } from '../src/lib/zoom';

const PICTURE = { width: 1000, height: 500 };
const FRAME = { width: 548, height: 400 };

test('fit shows the whole picture in the middle, with a margin', () => {
  const view = fit(PICTURE, FRAME);
  expect(view.scale).toBeCloseTo((548 - 2 * (548 / 24)) / 1000);
  expect(view.x + (PICTURE.width * view.scale) / 2).toBeCloseTo(274);
  expect(pannable(view, PICTURE, FRAME)).toBe(false);
});

test('the point under the pointer stays where it is', () => {
  const at = { x: 200, y: 150 };
  const near = zoomed({ scale: 1, x: -100, y: -50 }, 2, at, PICTURE, FRAME);
  expect([(at.x - near.x) / near.scale, (at.y - near.y) / near.scale]).toEqual([300, 200]);
});

test('no zoom goes beyond its limits', () => {
  let view = fit(PICTURE, FRAME);
  for (let step = 0; step < 100; step++) view = zoomed(view, 2, { x: 0, y: 0 }, PICTURE, FRAME);
  expect(view.scale).toBe(16);
  for (let step = 0; step < 100; step++) view = zoomed(view, 0.5, { x: 0, y: 0 }, PICTURE, FRAME);
  expect(view.scale).toBeCloseTo(fit(PICTURE, FRAME).scale / 2);
});

test('a part of the picture always stays in sight', () => {
  const view = clamped({ scale: 2, x: -9999, y: 9999 }, PICTURE, FRAME);
  expect([view.x, view.y]).toEqual([48 - 2000, 400 - 48]);
});

test('the divider goes from one visible edge to the other', () => {
  expect(visible({ scale: 1, x: -100, y: 0 }, PICTURE, FRAME)).toEqual({ left: 0, right: 548 });
  expect(visible({ scale: 0.1, x: 224, y: 0 }, PICTURE, FRAME)).toEqual({ left: 224, right: 324 });
});
