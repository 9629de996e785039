// A tool loop on Anthropic's SDK for Node.

import Anthropic from '@anthropic-ai/sdk'
import { MODEL, PROMPT, SCHEMA, TIMEOUT, TOOL, lookup, tell } from './report.mjs'

const client = new Anthropic({ timeout: TIMEOUT })

async function loop(answer) {
  const messages = [{ role: 'user', content: PROMPT }]
  const tools = [{ ...TOOL, input_schema: SCHEMA }]
  for (;;) {
    const content = await answer({ model: MODEL, messages, tools, max_tokens: 2000 })
    const calls = content.filter((block) => block.type === 'tool_use')
    if (!calls.length) return content.map((block) => block.text ?? '').join('')
    const results = calls.map(({ id, input }) => {
      return { type: 'tool_result', tool_use_id: id, content: lookup(input) }
    })
    messages.push({ role: 'assistant', content }, { role: 'user', content: results })
  }
}

async function whole(request) {
  return (await client.messages.create(request)).content
}

async function rawStream(request) {
  const blocks = []
  let partial = ''
  for await (const event of await client.messages.create({ ...request, stream: true })) {
    if (event.type === 'content_block_start') {
      blocks.push(event.content_block)
      partial = ''
    }
    if (event.type === 'content_block_delta') {
      if (event.delta.type === 'text_delta') blocks.at(-1).text += event.delta.text
      else partial += event.delta.partial_json
    }
    if (event.type === 'content_block_stop' && partial) blocks.at(-1).input = JSON.parse(partial)
  }
  return blocks
}

async function helper(request) {
  return (await client.messages.stream(request).finalMessage()).content
}

await tell({ whole: () => loop(whole), stream: () => loop(rawStream), helper: () => loop(helper) })
