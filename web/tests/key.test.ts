import { expect, test } from 'vitest';
import { sendable, sender } from '../src/lib/key.svelte';

test('a request carries the key, and says that it is the page', () => {
  expect(sender('secret')).toEqual({ 'X-Fluxvision-Client': 'page', Authorization: 'Bearer secret' });
  expect(sender('')).toEqual({ 'X-Fluxvision-Client': 'page' });
});

test('only what a header can carry is a key', () => {
  for (const word of ['k', 'sk-1_2.3=', 'x'.repeat(512)]) expect(sendable(word)).toBe(true);
  for (const word of ['', 'two words', 'schlüssel', 'line\nbreak', 'x'.repeat(513)]) expect(sendable(word)).toBe(false);
});
