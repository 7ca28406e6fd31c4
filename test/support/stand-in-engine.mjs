/** A model server for tests: OpenAI's routes without a model. `CRASH` in its first name makes it end at once. */
import { createServer } from 'node:http';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const options = Object.fromEntries(
  process.argv
    .slice(2)
    .flatMap((word, index, words) => (word.startsWith('--') ? [[word.slice(2), words[index + 1]]] : [])),
);
const after = process.argv.slice(process.argv.indexOf('--served-model-name') + 1);
const names = after.slice(
  0,
  Math.max(
    1,
    after.findIndex((word) => word.startsWith('--')),
  ),
);
const name = names[0];
if (name.includes('CRASH') || !existsSync(join(options.model, 'config.json'))) {
  console.error('cannot load the model');
  process.exit(1);
}

const json = (response, status, body) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const completion = (text) => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  model: name,
  choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
});
const WORDS = ['Grüße', ' from ', name];

createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const body = text ? JSON.parse(text) : {};
  if (request.url === '/health') return json(response, 200, {});
  if (request.url === '/v1/models')
    return json(response, 200, {
      object: 'list',
      data: names.map((id) => ({ id, max_model_len: Number(options['max-model-len']) })),
    });
  if (request.url !== '/v1/chat/completions') return json(response, 404, { error: { message: 'no such route' } });
  if (!names.includes(body.model))
    return json(response, 404, { error: { message: `The model \`${body.model}\` does not exist.` } });
  if (body.messages?.at(-1)?.content === 'hang') return;
  if (body.messages?.at(-1)?.content === 'die') process.exit(7);
  if (!body.stream) return json(response, 200, completion(WORDS.join('')));
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (value) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  for (const content of WORDS) {
    send({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  send({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
  send({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 3 } });
  response.end('data: [DONE]\n\n');
}).listen(Number(options.port), options.host);
