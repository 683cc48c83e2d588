// graphile-worker: the fastest setting is the one its page on performance was measured with.

import { makeWorkerUtils, run } from 'graphile-worker'
import { Entries, now, obey, rest, say } from './telling.mjs'

const connectionString = process.env.DATABASE_URL
const SETTINGS = {
  default: {},
  fastest: {
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
}
const ENQUEUED_AT_ONCE = 5000

const withUtils = async (act) => {
  const utils = await makeWorkerUtils({ connectionString })
  try {
    await act(utils)
  } finally {
    await utils.release()
  }
}

await obey({
  install: () => withUtils((utils) => utils.migrate()),

  enqueue: (count) =>
    withUtils(async (utils) => {
      for (let left = Number(count); left > 0; left -= ENQUEUED_AT_ONCE) {
        const jobs = Array.from({ length: Math.min(left, ENQUEUED_AT_ONCE) }, () => ({
          identifier: 'rest',
          payload: {},
        }))
        await utils.addJobs(jobs)
      }
    }),

  send: (count, every) =>
    withUtils(async (utils) => {
      for (let sent = 0; sent < Number(count); sent += 1) {
        await utils.addJob('rest', { sent: now() })
        await rest(Number(every))
      }
    }),

  work: async (count, setting) => {
    const entries = new Entries(Number(count))
    const runner = await run({
      preset: { worker: { connectionString, ...SETTINGS[setting] } },
      taskList: { rest: async (payload) => entries.note(payload) },
    })
    setTimeout(() => say({ ready: true }), 500)
    await runner.promise
  },
})
