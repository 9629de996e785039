// What every Node client program here prints: a line of JSON about how each run ended.

export const PROMPT = 'Find three facts about rivers.'
export const MODEL = 'sim-model'
export const TIMEOUT = 1000 * Number(process.env.CLIENT_TIMEOUT_SECONDS ?? 60)
export const TOOL = {
  name: 'lookup',
  description: 'Looks up one fact about a topic.',
}
export const SCHEMA = {
  type: 'object',
  properties: { topic: { type: 'string' } },
  required: ['topic'],
  additionalProperties: false,
}

let lookedUp = []

export function lookup({ topic }) {
  lookedUp.push(topic)
  return `A fact about ${topic}.`
}

async function outcome(run) {
  try {
    return { text: await run() }
  } catch (error) {
    const { message, status, code, type, error: body, requestID } = error
    const kinds = []
    for (let k = error.constructor; k?.name; k = Object.getPrototypeOf(k)) kinds.push(k.name)
    const told = { error: kinds[0], kinds, message, status_code: status, code, type, body }
    return { ...told, request_id: requestID }
  }
}

// Runs the modes that the command line names, one after the other.
export async function tell(modes) {
  for (const mode of process.argv.slice(2)) {
    lookedUp = []
    const told = { mode, ...(await outcome(modes[mode])), looked_up: lookedUp }
    console.log(JSON.stringify(told))
  }
}
