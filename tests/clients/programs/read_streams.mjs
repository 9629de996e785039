// Reads streams that are given on standard input with the SDKs' own helpers, and says what came:
// the same lines as read_streams.py.

import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const cases = []
for await (const line of createInterface({ input: process.stdin })) cases.push(JSON.parse(line))

const provider = createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(cases[Number(request.headers['x-case'])].stream)
  })
})
await new Promise((resolve) => provider.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${provider.address().port}`
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-a-test-key', maxRetries: 0 })
const anthropic = new Anthropic({ baseURL: url, apiKey: 'sk-a-test-key', maxRetries: 0 })
const asked = { model: 'm', messages: [{ role: 'user', content: 'a' }] }

async function chat(options) {
  const whole = await openai.chat.completions.stream(asked, options).finalChatCompletion()
  const [choice] = whole.choices
  const calls = (choice.message.tool_calls ?? []).map((call) => [
    call.id,
    call.function.name,
    call.function.arguments,
  ])
  const usage = whole.usage && [whole.usage.prompt_tokens, whole.usage.completion_tokens]
  return [whole.id, choice.message.content ?? '', calls, choice.finish_reason, usage ?? null]
}

async function messages(options) {
  const stream = anthropic.messages.stream({ ...asked, max_tokens: 9 }, options)
  const blocks = []
  stream.on('contentBlock', (block) => blocks.push(block))
  const whole = await stream.finalMessage()
  if (JSON.stringify(blocks) !== JSON.stringify(whole.content)) throw new Error('other blocks')
  const text = whole.content.map((block) => (block.type === 'text' ? block.text : '')).join('')
  const uses = whole.content.filter((block) => block.type === 'tool_use')
  const calls = uses.map((block) => [block.id, block.name, JSON.stringify(block.input)])
  const usage = [whole.usage.input_tokens, whole.usage.output_tokens]
  return [whole.id, text, calls, whole.stop_reason, usage]
}

async function responses(options) {
  const stream = openai.responses.stream({ model: 'm', input: 'a' }, options)
  const done = []
  stream.on('event', (event) => {
    if (event.type === 'response.output_item.done') done.push(event.item.id)
  })
  const whole = await stream.finalResponse()
  const said = whole.output.map((item) => item.id)
  if (JSON.stringify(said) !== JSON.stringify(done)) throw new Error('other items')
  const made = whole.output.filter((item) => item.type === 'function_call')
  const calls = made.map((item) => [item.call_id, item.name, item.arguments])
  const usage = [whole.usage.input_tokens, whole.usage.output_tokens]
  return [whole.id, whole.output_text, calls, whole.status, usage]
}

const readers = { chat, messages, responses }
for (const [at, one] of cases.entries()) {
  const read = readers[one.dialect]
  console.log(JSON.stringify(await read({ headers: { 'x-case': String(at) } })))
}
provider.close()
