// PM2: `pm2 start ecosystem.config.js`. Secrets stay in .env (mode 0600), never here:
// PM2 keeps this file's env in clear in its dump.
const path = require("path");
const home = __dirname;
const bin = process.platform === "win32" ? "Scripts/python.exe" : "bin/python";

module.exports = {
  apps: [
    {
      name: "lantern",
      cwd: home,
      // The interpreter is the program: fork mode, `python -u -m bot run`.
      interpreter: "none",
      script: process.env.PM2_PYTHON || path.join(home, ".venv", bin),
      args: "-u -m bot run",
      instances: 1,
      exec_mode: "fork",
      autorestart: true,
      // Ready is said after the login to Discord.
      wait_ready: true,
      listen_timeout: 30000,
      // SIGINT starts the drain (18 s at most); SIGKILL only after it.
      kill_timeout: 20000,
      exp_backoff_restart_delay: 200,
      // 78: wrong configuration or another instance; restarting cannot help, and PM2 does not,
      // though with a delay above it calls such a program "waiting restart". 0 must not stand here:
      // PM2 reports a kill by the system (out of memory) as code 0 and would leave Lantern dead.
      // `pm2 stop` keeps it down all the same.
      stop_exit_codes: [78],
      max_memory_restart: "400M",
      // No `time`: it puts a time before each line, which then is no JSON any more and has two.
      merge_logs: true,
    },
  ],
};
