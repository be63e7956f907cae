import { expect, test } from 'vitest';
import { bytes, dimensions, dollars, label, money } from '../src/lib/format';

test.each([
  [0, '$0'],
  [0.1, '$0.10'],
  [0.00111, '$0.00111'],
  [0.000001, '$0.000001'],
  [0.104858, '$0.104858'],
  [12.5, '$12.50'],
])('%d dollars are written %s', (value, text) => {
  expect(dollars(value)).toBe(text);
});

test('an unknown price says so', () => {
  expect(money(null)).toBe('known afterwards');
  expect(money(80_000)).toBe('$0.08');
});

test('names become labels', () => {
  expect(['scale_factor', 'n'].map(label)).toEqual(['Scale factor', 'Versions (n)']);
});

test('sizes are read and written', () => {
  expect(dimensions('1200x800')).toEqual({ width: 1200, height: 800 });
  expect(dimensions('auto')).toBeNull();
  expect([999, 54_000, 1_234_567].map(bytes)).toEqual(['999 B', '54 kB', '1.2 MB']);
});
