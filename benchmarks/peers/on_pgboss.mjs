// pg-boss: large batches, and fetching on while they come back full; NOTIFY must be asked for.

import { PgBoss } from 'pg-boss'
import { Entries, now, obey, rest, say } from './telling.mjs'

const SETTINGS = {
  default: { batchSize: 1 },
  fastest: { batchSize: 1000, burstWhenBatchFull: true },
  // For one job at a time: a batch is handed to the handler as one.
  prompt: { batchSize: 10 },
}
const QUEUE = 'rest'
const ENQUEUED_AT_ONCE = 5000

const started = async (options = {}) => {
  const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, ...options })
  boss.on('error', (error) => console.error(error))
  await boss.start()
  return boss
}

const withBoss = async (act) => {
  const boss = await started({ supervise: false, schedule: false })
  try {
    await act(boss)
  } finally {
    await boss.stop({ graceful: false })
  }
}

await obey({
  install: () => withBoss((boss) => boss.createQueue(QUEUE, { notify: true })),

  enqueue: (count) =>
    withBoss(async (boss) => {
      for (let left = Number(count); left > 0; left -= ENQUEUED_AT_ONCE) {
        const size = Math.min(left, ENQUEUED_AT_ONCE)
        await boss.insert(QUEUE, Array.from({ length: size }, () => ({ data: {} })))
      }
    }),

  send: (count, every) =>
    withBoss(async (boss) => {
      for (let sent = 0; sent < Number(count); sent += 1) {
        await boss.send(QUEUE, { sent: now() })
        await rest(Number(every))
      }
    }),

  work: async (count, setting) => {
    const entries = new Entries(Number(count))
    const boss = await started({ useListenNotify: setting !== 'default' })
    await boss.work(QUEUE, SETTINGS[setting], async (jobs) => {
      for (const job of jobs) entries.note(job.data)
    })
    setTimeout(() => say({ ready: true }), 500)
    process.on('SIGTERM', async () => {
      await boss.stop({ graceful: true, timeout: 2000 })
      process.exit(0)
    })
  },
})
