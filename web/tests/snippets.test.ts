import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { shell, snippets, type Request } from '../src/lib/snippets';

const PROPERTIES = {
  scale_factor: { type: 'number', description: '', 'x-flag': '--scale' },
  prompt: { type: 'string', description: '', 'x-flag': '--prompt' },
  strict: { type: 'boolean', description: '', 'x-flag': '--strict' },
  quality: { type: 'string', description: '' },
} as const;
const REQUEST: Request = { base: 'http://127.0.0.1:8000/openai/v1', model: 'flux-vision-upscaler', file: 'photo.jpg', mask: null, values: {}, properties: PROPERTIES, provider: null };

function code(id: string, more: Partial<Request> = {}): string {
  return snippets({ ...REQUEST, ...more }).find((one) => one.id === id)?.code ?? '';
}

/** Return the words that a real shell makes of a command line. */
function words(line: string): string[] {
  const script = line.replace(/^\S+/, 'set --') + '\nprintf "%s\\0" "$@"';
  return execFileSync('sh', ['-c', script], { env: { FLUXVISION_API_KEY: 'key' } }).toString().split('\0').slice(0, -1);
}

test.each(['photo.jpg', "it's mine.png", 'a b.png', '$(touch x).png', '`id`.png', 'a"b.png', 'a\\b.png', '*.png', 'new\nline.png', '-rf', '~.png', 'ünï.png', ''])(
  'a shell reads %j back as it was',
  (text) => {
    expect(words(`x ${shell(text)}`)).toEqual([text]);
  },
);

test('curl sends only what differs, with the key of the environment', () => {
  expect(words(code('curl', { values: { scale_factor: 4 } }))).toEqual([
    'http://127.0.0.1:8000/openai/v1/images/edits', '-H', 'Authorization: Bearer key', '-F', 'model=flux-vision-upscaler', '-F', 'scale_factor=4', '-F', 'image=@photo.jpg',
  ]);
});

test.each([
  ['a;b.png', 'image=@"a;b.png"'],
  ['a,b.png', 'image=@"a,b.png"'],
  ['a"b\\c.png', 'image=@"a\\"b\\\\c.png"'],
  ['plain name.png', 'image=@plain name.png'],
])('curl reads the file name %j as one', (file, part) => {
  expect(words(code('curl', { file }))).toContain(part);
});

test.each(['@secret', '<file', 'a;type=text/html'])('curl takes the value %j as text', (prompt) => {
  const found = words(code('curl', { values: { prompt } }));
  expect(found.slice(found.indexOf('--form-string')).slice(0, 2)).toEqual(['--form-string', `prompt=${prompt}`]);
});

test('the command has flags of the rows, and leaves out what has none', () => {
  const line = code('cli', { values: { scale_factor: 4, prompt: '-dark', strict: true, quality: 'hd' }, provider: 'fal', mask: 'mask.png', model: 'seedvr', file: '-x.png' });
  expect(words(line.replace(/^fluxvision upscale/, 'x'))).toEqual(['./-x.png', '--model', 'seedvr', '--mask', 'mask.png', '--scale', '4', '--prompt=-dark', '--strict', '--provider', 'fal']);
});

test('Python names what the SDK knows and puts the rest into its extra body', () => {
  const text = code('python', { values: { prompt: 'say "hi"\n', size: '10x10', scale_factor: 4, strict: true } });
  expect(text).toContain('prompt="say \\"hi\\"\\n",');
  expect(text).toContain('size="10x10",');
  expect(text).toContain('extra_body={"scale_factor": 4, "strict": True},');
});

test('JavaScript reads strings back as they were', () => {
  for (const file of ["it's.png", 'a"b.png', 'a\\b.png', 'new\nline']) {
    const literal = /createReadStream\((.*)\),/.exec(code('javascript', { file }))?.[1];
    expect(new Function(`return ${literal}`)()).toBe(file);
  }
});
