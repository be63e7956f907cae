import { expect, test } from 'vitest';
import { made, micros } from '../src/lib/price';
import type { PriceEntry } from '../src/lib/types';

const BASE: PriceEntry = { metric: 'output_megapixel', unit_price: 0.1, unit: 1_000_000, rounding: 'none', block: 1, tiers: [], currency: 'USD', text: '' };
const size = (width: number, height = width) => ({ width, height });

test.each<[string, Partial<PriceEntry>, [number, number], [number, number], number | null]>([
  ['by output megapixel', {}, [512, 512], [1024, 1024], 104_858],
  ['half a micro-dollar goes up', { unit_price: 0.000001, unit: 2 }, [1, 1], [1, 1], 1],
  ['by input megapixel', { metric: 'input_megapixel' }, [1000, 1000], [4000, 4000], 100_000],
  ['by picture', { metric: 'image', unit_price: 0.004 }, [9, 9], [99, 99], 4_000],
  ['free', { metric: 'image', unit_price: 0 }, [9, 9], [99, 99], 0],
  ['by the second: nobody knows', { metric: 'second' }, [9, 9], [99, 99], null],
  ['rounded up', { rounding: 'up' }, [9, 9], [1001, 1000], 200_000],
  ['at least one', { rounding: 'up_min_1' }, [9, 9], [10, 10], 100_000],
  ['a started block', { block: 24, unit_price: 0.08 }, [9, 9], [5000, 5000], 160_000],
  ['a full block', { block: 24, unit_price: 0.08 }, [9, 9], [6000, 4000], 80_000],
  ['megapixels of 2^20', { unit: 1_048_576 }, [9, 9], [1024, 1024], 100_000],
  ['the first tier', { tiers: [{ upto: 1.5, unit_price: 0.05 }, { upto: null, unit_price: 0.2 }] }, [9, 9], [1500, 1000], 50_000],
  ['the last tier', { tiers: [{ upto: 1.5, unit_price: 0.05 }, { upto: null, unit_price: 0.2 }] }, [9, 9], [1501, 1000], 200_000],
])('%s', (_name, price, source, result, expected) => {
  expect(micros({ ...BASE, ...price }, size(...source), size(...result))).toBe(expected);
});

test.each([
  ['any factor', 2.5, null, 250],
  ['within its range', 3, { low: 1, high: 4, only: [] }, 300],
  ['no further than its range', 8, { low: 1, high: 4, only: [] }, 400],
  ['its own next factor', 1.5, { low: 1, high: 4, only: [2, 4] }, 200],
  ['its largest where all are smaller', 8, { low: 1, high: 4, only: [2, 4] }, 400],
])('made by %s', (_name, factor, factors, width) => {
  expect(made(size(100), factor, factors)).toEqual(size(width));
});
