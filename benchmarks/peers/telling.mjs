// How a peer's program speaks with the benchmark; telling.py describes the commands.

export const now = () => Number(process.hrtime.bigint()) / 1e9

export const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

export const rest = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds))

/** The handlers that were entered; tells of them once all were. */
export class Entries {
  #first = 0
  #cpu = 0
  #entered = 0
  #ms = []

  constructor(count) {
    this.count = count
  }

  note(held) {
    const at = now()
    if (this.#entered === 0) {
      const { user, system } = process.cpuUsage()
      this.#first = at
      this.#cpu = (user + system) / 1e6
    }
    this.#entered += 1
    if (held.sent !== undefined) this.#ms.push(1000 * (at - held.sent))
    if (this.#entered === this.count) {
      say({ first: this.#first, last: at, cpu: this.#cpu, ms: this.#ms })
    }
  }
}

/** Obey the command on the command line with the function of its name. */
export const obey = async (commands) => {
  const [command, ...given] = process.argv.slice(2)
  await commands[command](...given)
}
