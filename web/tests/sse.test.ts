import { expect, test } from 'vitest';
import { Parser, progress, type Message } from '../src/lib/sse';

const STREAM = ': started\n\nevent: image_edit.partial_image\ndata: {"a":"ü€😀"}\n\n: progress 3/12\r\n\r\nevent: x\rdata: one\rdata:two\r\rdata: last\n\n';
const EXPECTED: Message[] = [
  { kind: 'comment', text: 'started' },
  { kind: 'event', name: 'image_edit.partial_image', data: '{"a":"ü€😀"}' },
  { kind: 'comment', text: 'progress 3/12' },
  { kind: 'event', name: 'x', data: 'one\ntwo' },
  { kind: 'event', name: 'message', data: 'last' },
];

test.each([1, 2, 3, 5, 7, 64, 10_000])('a stream in pieces of %i bytes gives the same messages', (size) => {
  const bytes = new TextEncoder().encode(STREAM);
  const parser = new Parser();
  const found: Message[] = [];
  for (let at = 0; at < bytes.length; at += size) found.push(...parser.push(bytes.slice(at, at + size)));
  expect(found).toEqual(EXPECTED);
});

test('an event that did not end is not given', () => {
  expect(new Parser().push(new TextEncoder().encode('data: half\n'))).toEqual([]);
});

test('a line of megabytes arrives whole', () => {
  const parser = new Parser();
  const long = 'x'.repeat(1_000_000);
  const bytes = new TextEncoder().encode(`data: ${long}\n\n`);
  const found: Message[] = [];
  for (let at = 0; at < bytes.length; at += 16_384) found.push(...parser.push(bytes.slice(at, at + 16_384)));
  expect(found).toEqual([{ kind: 'event', name: 'message', data: long }]);
});

test('progress is read from its comment only', () => {
  expect(progress('progress 3/12')).toEqual({ done: 3, total: 12 });
  expect(progress('keep-alive')).toBeNull();
});
