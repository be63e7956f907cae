// The calls of the Node SDK's public examples and tests: node openai-examples.mjs URL PHOTO PARAMETERS
// One JSON object on standard output says what each call gave.
import OpenAI, { AzureOpenAI, toFile } from 'openai';
import fs from 'node:fs';

const [url, photo, parameters] = process.argv.slice(2);
const client = new OpenAI({ apiKey: 'any', baseURL: `${url}/v1`, maxRetries: 0 });
const azure = new AzureOpenAI({ apiKey: 'any', endpoint: url, apiVersion: '2024-10-21', maxRetries: 0 });
const file = () => fs.createReadStream(photo);
const shown = ({ data, metadata }) => [metadata.size, Object.keys(data[0]).find((name) => data[0][name])];

const everything = await client.images.edit({ image: file(), stream: false, ...JSON.parse(parameters) });
const files = [await toFile(file(), 'one.png', { type: 'image/png' }), await toFile(file(), 'two.png')];
const list = await client.images.edit({ image: files, model: 'gpt-image-1', prompt: 'x' });
const variation = await client.images.createVariation({ image: file(), model: 'dall-e-2', n: 1 });
const edited = await azure.images.edit({ image: file(), model: 'gpt-image-2', prompt: 'x' });

const stream = [];
for await (const event of await client.images.edit({
  image: file(), model: 'gpt-image-1', prompt: 'x', stream: true, partial_images: 1,
})) {
  stream.push(event.type);
}

const words = await client.images.generate({ model: 'gpt-image-1', prompt: 'x' }).catch(({ status, code }) => [status, code]);
console.log(JSON.stringify({
  everything: shown(everything), list: shown(list), variation: shown(variation), stream, azure: shown(edited), words,
}));
