// Mux's official Node client at one piece of work; prints what it measured as JSON, as benchmarks/_child.py does for the others.
// node _node.cjs WORK ORIGIN SECONDS
'use strict';
const began = [process.hrtime.bigint(), process.cpuUsage()];
const Mux = require('@mux/mux-node').default;

const [work, origin, seconds] = process.argv.slice(2);
const mux = new Mux({ tokenId: 'id', tokenSecret: 'secret', baseURL: origin });
const CREATE = { inputs: [{ url: 'https://example.com/film.mp4' }], playback_policies: ['public'] };
let turn = 0;
const calls = {
  get: () => mux.video.assets.retrieve(String(turn++ % 1000).padStart(40, '0')),
  list: () => mux.video.assets.list({ limit: 100, page: (turn++ % 1000) + 1 }),
  list_ascii: () => mux.video.assets.list({ limit: 100, page: (turn++ % 1000) + 1, live_stream_id: 'ascii' }),
  create: () => mux.video.assets.create(CREATE),
};
const wall = () => Number(process.hrtime.bigint()) / 1e3;
const cpu = (since) => {
  const used = process.cpuUsage(since);
  return used.user + used.system;
};

async function oneByOne(call, count) {
  const taken = [];
  for (let i = 0; i < count; i++) {
    const start = wall();
    await call();
    taken.push(wall() - start);
  }
  return taken.sort((a, b) => a - b);
}

async function manyAtOnce(call, count) {
  const worker = async () => {
    for (let i = 0; i < count / 100; i++) await call();
  };
  await Promise.all(Array.from({ length: 100 }, worker));
  return [0];
}

async function main() {
  if (work === 'first') {
    await calls.get();
    return { ms: Number(process.hrtime.bigint() - began[0]) / 1e6, cpu_ms: cpu(began[1]) / 1e3 };
  }
  if (work === 'memory') {
    await calls.get();
    const idle = process.memoryUsage().rss;
    const kept = [];
    for (let i = 0; i < 100; i++) kept.push(await calls.list());
    return { idle_mb: idle / 1e6, per_asset_kb: (process.memoryUsage().rss - idle) / (kept.length * 100) / 1e3 };
  }
  const [what, atOnce] = work.split('/');
  const [run, step] = atOnce === '1' ? [oneByOne, 20] : [manyAtOnce, 100];
  await run(calls[what], step);
  const before = process.cpuUsage();
  await run(calls[what], step);
  const count = Math.max(1, Math.round((seconds * 1e6) / (cpu(before) / step) / step)) * step;
  const start = [wall(), process.cpuUsage()];
  const taken = await run(calls[what], count);
  const spent = cpu(start[1]);
  const measured = { cpu_us: spent / count, rate: (count / (wall() - start[0])) * 1e6, calls: count + 2 * step };
  return atOnce === '1' ? { ...measured, p50_us: taken[count >> 1] } : measured;
}

main().then((measured) => {
  console.log(JSON.stringify(measured));
  process.exit(0);
});
