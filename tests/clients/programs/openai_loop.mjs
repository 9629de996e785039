// A tool loop on openai-node.

import OpenAI from 'openai'
import { MODEL, PROMPT, SCHEMA, TIMEOUT, TOOL, lookup, tell } from './report.mjs'

const client = new OpenAI({ timeout: TIMEOUT })
const FUNCTION = { ...TOOL, parameters: SCHEMA, strict: true }

async function chat(answer) {
  const messages = [{ role: 'user', content: PROMPT }]
  const tools = [{ type: 'function', function: FUNCTION }]
  for (;;) {
    const said = await answer({ model: MODEL, messages, tools })
    if (!said.tool_calls?.length) return said.content
    messages.push(said)
    for (const call of said.tool_calls) {
      const content = lookup(JSON.parse(call.function.arguments))
      messages.push({ role: 'tool', tool_call_id: call.id, content })
    }
  }
}

async function wholeChat(request) {
  return (await client.chat.completions.create(request)).choices[0].message
}

async function rawChatStream(request) {
  let content = ''
  const calls = []
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
    const delta = chunk.choices[0].delta
    content += delta.content ?? ''
    for (const part of delta.tool_calls ?? []) {
      calls[part.index] ??= { id: part.id, type: 'function', function: { ...part.function } }
      if (!part.id) calls[part.index].function.arguments += part.function.arguments
    }
  }
  return { role: 'assistant', content, ...(calls.length && { tool_calls: calls }) }
}

async function chatHelper(request) {
  const { role, content, tool_calls } = await client.chat.completions.stream(request).finalMessage()
  return { role, content, tool_calls }
}

async function responses(answer) {
  const input = [{ role: 'user', content: PROMPT }]
  const tools = [{ type: 'function', ...FUNCTION }]
  for (;;) {
    const said = await answer({ model: MODEL, input, tools })
    const calls = said.output.filter((item) => item.type === 'function_call')
    if (!calls.length) return said.output_text ?? said.output.at(-1).content[0].text
    input.push(...said.output)
    for (const { call_id, arguments: given } of calls) {
      const output = lookup(JSON.parse(given))
      input.push({ type: 'function_call_output', call_id, output })
    }
  }
}

async function rawResponsesStream(request) {
  let said
  for await (const event of await client.responses.create({ ...request, stream: true })) {
    if (event.type === 'response.completed') said = event.response
  }
  return said
}

async function responsesHelper(request) {
  const said = await client.responses.stream(request).finalResponse()
  const output = said.output.map(({ parsed_arguments, ...item }) => item)
  return { ...said, output }
}

await tell({
  chat: () => chat(wholeChat),
  'chat-stream': () => chat(rawChatStream),
  'chat-helper': () => chat(chatHelper),
  responses: () => responses((request) => client.responses.create(request)),
  'responses-stream': () => responses(rawResponsesStream),
  'responses-helper': () => responses(responsesHelper),
})
