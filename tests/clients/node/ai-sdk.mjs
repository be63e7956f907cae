// One image edit by the Vercel AI SDK: node ai-sdk.mjs PACKAGE BASE_URL MODEL PHOTO OPTIONS
// PACKAGE is `openai` or `openai-compatible`; OPTIONS is JSON that generateImage gets beside model and prompt.
// The pictures lie beside the photo as 0, 1, …; one JSON object on standard output says what the SDK gave or threw.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateImage } from 'ai';
import fs from 'node:fs';
import path from 'node:path';

globalThis.AI_SDK_LOG_WARNINGS = false;
const [which, baseURL, id, photo, options] = process.argv.slice(2);
const model = {
  openai: () => createOpenAI({ apiKey: 'any', baseURL }).image(id),
  'openai-compatible': () => createOpenAICompatible({ apiKey: 'any', baseURL, name: 'fluxvision' }).imageModel(id),
}[which]();
const prompt = { images: [fs.readFileSync(photo)], text: 'a photo' };

try {
  const { images, warnings } = await generateImage({ model, prompt, maxRetries: 0, ...JSON.parse(options) });
  images.forEach((image, index) => fs.writeFileSync(path.join(path.dirname(photo), `${index}`), image.uint8Array));
  console.log(JSON.stringify({ types: images.map((image) => image.mediaType), warnings }));
} catch (error) {
  console.log(JSON.stringify({ name: error.name, status: error.statusCode, message: error.message }));
}
