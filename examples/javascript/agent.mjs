// An agent in plain SQL with node-postgres: it needs nothing of the coordinator.
//
// Usage: DATABASE_URL=postgresql://… node agent.mjs [how many handoffs to do before leaving]
import pg from "pg";

const NAME = "plain-javascript";
const HEARTBEAT_MS = 10_000;

const db = new pg.Client({ connectionString: process.env.DATABASE_URL });
await db.connect();

let pushed = false;
let wake = () => {};
db.on("notification", () => {
  pushed = true;
  wake();
});

const { rows: [{ channel }] } = await db.query("select agent_channel($1) as channel", [NAME]);
await db.query(`listen ${db.escapeIdentifier(channel)}`);
await db.query(
  `insert into agent_status (agent_name) values ($1)
   on conflict (agent_name) do update set status = 'idle', last_seen = now()`,
  [NAME],
);

async function work(handoff) {
  return { text: handoff.task_description.toUpperCase() };
}

const heartbeat = () =>
  db.query("update agent_status set last_seen = now() where agent_name = $1", [NAME]);
// Beats while the work goes on as well; node-postgres puts queries in a queue.
const beating = setInterval(heartbeat, HEARTBEAT_MS);

async function waitForAPush() {
  if (pushed) return;
  let timer;
  await new Promise((resolve) => {
    wake = resolve;
    timer = setTimeout(resolve, HEARTBEAT_MS);
  });
  clearTimeout(timer);
}

for (let todo = Number(process.argv[2] ?? -1); todo !== 0; ) {
  pushed = false;
  // A push is a hint and may be lost: the row is the truth, so look at every heartbeat too.
  const { rows: [handoff] } = await db.query(
    `select id, attempt, task_description from handoffs
     where assigned_agent = $1 and status = 'in_progress'`,
    [NAME],
  );
  if (!handoff) {
    await waitForAPush();
    continue;
  }
  // The attempt is the proof that the work is still ours; no row is updated once it is not.
  const { rowCount } = await db.query(
    `update handoffs set status = 'completed', result = $3
     where id = $1 and attempt = $2 and status = 'in_progress'`,
    [handoff.id, handoff.attempt, JSON.stringify(await work(handoff))],
  );
  // If it took too long and was taken back, the agent is blocked until it says this. Otherwise it is
  // idle already, or holds the next handoff, which this does not disturb.
  await db.query("update agent_status set status = 'idle', last_seen = now() where agent_name = $1", [
    NAME,
  ]);
  console.log(rowCount ? `completed ${handoff.id}` : `lost ${handoff.id}`);
  todo -= 1;
}

clearInterval(beating);
await db.query(
  "update agent_status set status = 'blocked', blocked_reason = 'offline' where agent_name = $1",
  [NAME],
);
await db.end();
