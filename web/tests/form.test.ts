import { expect, test } from 'vitest';
import { control, differing, form, range, typed } from '../src/lib/form';
import type { Card, Property } from '../src/lib/page-types';

const mode = (found: 'passthrough' | 'emulated', sent = true) => ({ mode: found, sent, upstream_names: [], note: '' });
const offer = (provider: string, configured: boolean) => ({ provider, configured }) as Card['offers'][number];
const CARD = {
  id: 'm',
  offers: [offer('here', true), offer('there', false)],
  parameters: [
    { provider: 'here', upstream: '', parameters: { prompt: mode('passthrough', false), scale_factor: mode('passthrough'), n: mode('emulated', false), new_word: mode('passthrough') } },
    { provider: 'there', upstream: '', parameters: { prompt: mode('passthrough') } },
  ],
  schema: {
    required: ['image'],
    properties: {
      model: { type: 'string', const: 'm', description: '' },
      image: { type: 'string', format: 'binary', description: '', 'x-group': 'Picture' },
      mask: { type: 'string', format: 'binary', description: '', 'x-group': 'Picture' },
      prompt: { type: 'string', maxLength: 32_000, description: 'Words.', 'x-group': 'Detail' },
      scale_factor: { type: 'number', minimum: 1, maximum: 4, default: 2, description: '', 'x-group': 'Size' },
      n: { type: 'integer', minimum: 1, maximum: 10, default: 1, description: '', 'x-group': 'Output' },
      stream: { type: 'boolean', default: false, description: '', 'x-group': 'Output' },
      new_word: { type: 'string', enum: ['a', 'b'], description: '', 'x-group': 'Strange' },
    },
  },
} as unknown as Card;

test('common parameters come first, and all others by their groups', () => {
  const found = form(CARD);
  expect(found.common.map((field) => field.name)).toEqual(['scale_factor', 'n']);
  expect(found.groups.map((group) => [group.name, group.fields.map((field) => field.name)])).toEqual([
    ['Detail', ['prompt']],
    ['Strange', ['new_word']],
  ]);
  expect(found.masked).toBe(true);
});

test('what no provider of this server uses is not among the common ones, and says so', () => {
  const prompt = form(CARD).groups[0]?.fields[0];
  expect(prompt?.useful).toBe(false);
  expect(prompt?.badges.map((badge) => [badge.provider, badge.becomes])).toEqual([['here', 'not sent'], ['there', 'prompt']]);
});

test.each<[string, Partial<Property>]>([
  ['slider', { type: 'number', minimum: 0, maximum: 1, default: 0.3 }],
  ['number', { type: 'number', minimum: 0, maximum: 1 }],
  ['number', { type: 'integer', minimum: 0, maximum: 4_294_967_295, default: 0 }],
  ['segments', { type: 'string', enum: ['1K', '2K', '4K'] }],
  ['select', { type: 'string', enum: ['RealESRGAN_x4plus', 'RealESRGAN_x2plus'] }],
  ['switch', { type: 'boolean' }],
  ['text', { type: 'string', pattern: '^a$' }],
  ['area', { type: 'string', maxLength: 32_000 }],
])('a %s for %j', (expected, property) => {
  expect(control(property as Property)).toBe(expected);
});

test('only what differs from silence is sent', () => {
  expect(differing({ scale_factor: 2, n: 3, prompt: '', stream: true, gone: 1 }, CARD)).toEqual({ n: 3 });
});

test.each([
  ['1,5', 'number', 1.5],
  ['', 'number', undefined],
  ['huge', 'number', 'huge'],
  ['7', 'string', '7'],
])('%j typed into a %s is %j', (text, type, expected) => {
  expect(typed(text, { type, description: '' } as Property)).toBe(expected);
});

test('a range is said in a few words', () => {
  expect(range({ type: 'string', maxLength: 32_000, description: '' })).toBe('text, at most 32,000 characters');
});
