// One request as people would write it: curl, Python, JavaScript and this project's own command.

import type { Property, Value, Values } from './page-types';

export interface Request {
  base: string;
  model: string;
  file: string;
  mask: string | null;
  values: Values;
  properties: Record<string, Property>;
  /** The provider to name on the command line, where one that charges was chosen. */
  provider: string | null;
}

export interface Snippet {
  id: string;
  title: string;
  code: string;
  hint: string;
}

/** What OpenAI's own clients know by name; everything else goes into their extra body. */
const SDK = new Set(['prompt', 'size', 'n', 'quality', 'background', 'input_fidelity', 'output_format', 'output_compression', 'user']);

export function snippets(request: Request): Snippet[] {
  return [
    { id: 'curl', title: 'curl', code: curl(request), hint: 'The answer has the picture’s link at data[0].url.' },
    { id: 'python', title: 'Python', code: python(request), hint: 'pip install openai' },
    { id: 'javascript', title: 'JavaScript', code: javascript(request), hint: 'npm install openai; save as upscale.mjs' },
    { id: 'cli', title: 'CLI', code: cli(request), hint: 'Runs on your own machine, without this server.' },
  ];
}

/** Return a word that a POSIX shell reads as exactly this text. */
export function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function curl({ base, model, file, mask, values }: Request): string {
  const parts = [upload('image', file), ...(mask ? [upload('mask', mask)] : [])];
  const fields = Object.entries({ model, ...values }).map(([name, value]) => field(`${name}=${value}`, String(value)));
  const lines = [
    `curl ${shell(`${base}/images/edits`)}`,
    '  -H "Authorization: Bearer $FLUXVISION_API_KEY"',
    ...[...fields, ...parts].map((part) => `  ${part}`),
  ];
  return lines.join(' \\\n');
}

/** curl reads `@`, `<` and `;type=` in -F as its own words; --form-string reads nothing. */
function field(pair: string, value: string): string {
  return `${/^[@<]|;/.test(value) ? '--form-string' : '-F'} ${shell(pair)}`;
}

function upload(name: string, file: string): string {
  const path = /[;,"\\]|^\s|\s$/.test(file) ? `"${file.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : file;
  return `-F ${shell(`${name}=@${path}`)}`;
}

function split(values: Values): { known: [string, Value][]; extra: [string, Value][] } {
  const { prompt = '', ...rest } = values;
  const known = Object.entries(rest).filter(([name]) => SDK.has(name));
  const extra = Object.entries(rest).filter(([name]) => !SDK.has(name));
  return { known: [['prompt', prompt], ...known], extra };
}

function python({ base, model, file, mask, values }: Request): string {
  const { known, extra } = split(values);
  const word = (value: Value): string => (typeof value === 'boolean' ? (value ? 'True' : 'False') : JSON.stringify(value));
  const body = extra.map(([name, value]) => `${JSON.stringify(name)}: ${word(value)}`).join(', ');
  return [
    'import os',
    '',
    'from openai import OpenAI',
    '',
    'client = OpenAI(',
    '    api_key=os.environ.get("FLUXVISION_API_KEY", "none"),',
    `    base_url=${word(base)},`,
    ')',
    'answer = client.images.edit(',
    `    model=${word(model)},`,
    `    image=open(${word(file)}, "rb"),`,
    ...(mask ? [`    mask=open(${word(mask)}, "rb"),`] : []),
    ...known.map(([name, value]) => `    ${name}=${word(value)},`),
    ...(body ? [`    extra_body={${body}},`] : []),
    ')',
    'print(answer.data[0].url)',
  ].join('\n');
}

function javascript({ base, model, file, mask, values }: Request): string {
  const { known, extra } = split(values);
  const word = (value: Value): string =>
    typeof value === 'string' ? `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'` : String(value);
  return [
    "import fs from 'node:fs';",
    "import OpenAI from 'openai';",
    '',
    'const client = new OpenAI({',
    "  apiKey: process.env.FLUXVISION_API_KEY ?? 'none',",
    `  baseURL: ${word(base)},`,
    '});',
    'const answer = await client.images.edit({',
    `  model: ${word(model)},`,
    `  image: fs.createReadStream(${word(file)}),`,
    ...(mask ? [`  mask: fs.createReadStream(${word(mask)}),`] : []),
    ...[...known, ...extra].map(([name, value]) => `  ${name}: ${word(value)},`),
    '});',
    'console.log(answer.data[0].url);',
  ].join('\n');
}

function cli({ model, file, mask, values, properties, provider }: Request): string {
  const words = [`fluxvision upscale ${shell(file.startsWith('-') ? `./${file}` : file)}`];
  if (model !== 'flux-vision-upscaler') words.push(`--model ${shell(model)}`);
  if (mask) words.push(`--mask ${shell(mask)}`);
  for (const [name, value] of Object.entries(values)) {
    const flag = properties[name]?.['x-flag'];
    if (!flag || value === false) continue;
    words.push(value === true ? flag : `${flag}${String(value).startsWith('-') ? '=' : ' '}${shell(String(value))}`);
  }
  if (provider) words.push(`--provider ${shell(provider)}`);
  return words.join(' \\\n  ');
}
