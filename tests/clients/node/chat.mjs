// A photo in a chat by an SDK of Node: node chat.mjs CASE BASE_URL MODEL PHOTO
// One JSON object on standard output says what the SDK gave.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import fs from 'node:fs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const [which, baseURL, id, photo] = process.argv.slice(2);
const file = fs.readFileSync(photo);
const words = { type: 'text', text: 'Enlarge this, please.' };

const cases = {
  openai: async () => {
    const client = new OpenAI({ apiKey: 'any', baseURL, maxRetries: 0 });
    const url = `data:image/png;base64,${file.toString('base64')}`;
    const messages = [{ role: 'user', content: [words, { type: 'image_url', image_url: { url } }] }];
    const answer = await client.chat.completions.create({ model: id, messages });
    const stream = client.chat.completions.stream({ model: id, messages });
    const input = [{ role: 'user', content: [{ type: 'input_image', image_url: url, detail: 'auto' }] }];
    const response = await client.responses.create({ model: id, input });
    return {
      result: response.output.find((item) => item.type === 'image_generation_call').result,
      image: answer.choices[0].message.images[0].image_url.url,
      streamed: (await stream.finalMessage()).content,
    };
  },
  'openai-compatible': async () => {
    const model = createOpenAICompatible({ apiKey: 'any', baseURL, name: 'fluxvision' }).chatModel(id);
    const messages = [{ role: 'user', content: [words, { type: 'image', image: file }] }];
    const { text, finishReason } = await generateText({ model, messages, maxRetries: 0 });
    const alone = await generateText({ model, prompt: 'Hi', maxRetries: 0 });
    return {
      text,
      finish: finishReason,
      streamed: await streamText({ model, messages, maxRetries: 0 }).text,
      alone: alone.text,
    };
  },
  responses: async () => {
    const openai = createOpenAI({ apiKey: 'any', baseURL });
    const model = openai.responses(id);
    const messages = [{ role: 'user', content: [words, { type: 'image', image: file }] }];
    const tools = { image_generation: openai.tools.imageGeneration({ outputFormat: 'png' }) };
    const { text, staticToolResults } = await generateText({ model, messages, tools, maxRetries: 0 });
    const stream = streamText({ model, messages, tools, maxRetries: 0 });
    return {
      text,
      result: staticToolResults[0].output.result,
      streamed: (await stream.staticToolResults)[0].output.result,
      alone: (await generateText({ model, prompt: 'Hi', maxRetries: 0 })).text,
    };
  },
};
console.log(JSON.stringify(await cases[which]()));
