const ms = require("ms");
require("http").createServer((_, res) => res.end(`two days are ${ms("2 days")} ms\n`)).listen(process.env.PORT);
