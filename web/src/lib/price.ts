// What a picture costs at an offer, from the price row alone. The same arithmetic as the server's: exact, rounded once.

import type { FactorsEntry, PriceEntry } from './types';

export interface Size {
  width: number;
  height: number;
}

const MICRO = 1_000_000;

/** Return a decimal number as an exact fraction. */
function exact(value: number): [bigint, bigint] {
  const [digits = '0', places = ''] = value.toFixed(9).split('.');
  return [BigInt(digits + places), 10n ** BigInt(places.length)];
}

/** Return the size that an offer makes for a factor: within its range, or the nearest of its own factors above. */
export function made(source: Size, factor: number, factors: FactorsEntry | null): Size {
  let times = factor;
  if (factors?.only.length) times = factors.only.find((one) => one >= factor) ?? Math.max(...factors.only);
  else if (factors) times = Math.min(Math.max(factor, factors.low), factors.high);
  return { width: Math.round(source.width * times), height: Math.round(source.height * times) };
}

/** Return the price of one picture in micro-dollars, null where only the work itself will tell, or nobody. */
export function micros(price: PriceEntry, source: Size, result: Size): number | null {
  if (price.metric === 'second' || price.unit_price === null) return null;
  let over = 1n;
  let count = 1n;
  if (price.metric !== 'image') {
    const size = price.metric === 'input_megapixel' ? source : result;
    count = BigInt(size.width) * BigInt(size.height);
    over = BigInt(price.unit);
  }
  if (price.tiers.length) {
    const tier = price.tiers.find((one) => {
      if (one.upto === null) return true;
      const [limit, scale] = exact(one.upto);
      return count * scale <= limit * over;
    });
    return Math.round((tier?.unit_price ?? price.unit_price) * MICRO);
  }
  if (price.rounding !== 'none') {
    count = ceil(count, over);
    over = 1n;
    if (price.rounding === 'up_min_1' && count < 1n) count = 1n;
  }
  if (price.block > 1) {
    count = ceil(count, over * BigInt(price.block));
    over = 1n;
  }
  const cost = count * BigInt(Math.round(price.unit_price * MICRO));
  return Number((2n * cost + over) / (2n * over));
}

function ceil(count: bigint, over: bigint): bigint {
  return (count + over - 1n) / over;
}
