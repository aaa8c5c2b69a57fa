'use strict';

// Measures what the workers are worth: node bench.js [records] [rounds] [least ratio]
//
// It prints the time of dumpFile and of dumpFileSerial, by turns, best of all rounds, and their ratio; and the longest time that the event loop stood
// still meanwhile. A ratio below the least one where a pool runs ends in exit status 1.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { performance, monitorEventLoopDelay } = require('node:perf_hooks');
const fastjson = require('./index.js');

async function milliseconds(function_, file) {
  const start = performance.now();
  const json = await function_(file);
  return [performance.now() - start, json.length];
}

async function main() {
  const [records = 200000, rounds = 5, least = 0] = process.argv.slice(2).map(Number);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fastjson-'));
  try {
    const file = path.join(folder, 'stop_times.txt');
    fastjson.makeFile(file, records);
    const start = performance.now();
    // This round warms the file cache, the memory and the pool, and is not counted.
    const first = await fastjson.dumpFile(file);
    const began = performance.now() - start;
    if (!first.equals(await fastjson.dumpFileSerial(file))) throw new Error('the outcomes differ');
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const parallel = [];
    const serial = [];
    for (let round = 0; round < rounds; round += 1) {
      parallel.push((await milliseconds(fastjson.dumpFile, file))[0]);
      serial.push((await milliseconds(fastjson.dumpFileSerial, file))[0]);
    }
    delay.disable();
    const fast = Math.min(...parallel);
    const slow = Math.min(...serial);
    const workers = fastjson.workers();
    console.log(`Node.js ${process.version}`);
    console.log(`workers ${workers}${workers === 0 ? ` (${fastjson.whyNoPool()})` : ''}`);
    console.log(`${records} records, ${(first.length / 1e6).toFixed(1)} MB of JSON, best of ${rounds}`);
    console.log(`dumpFile ${fast.toFixed(1)} ms (the first call ${began.toFixed(1)} ms)`);
    console.log(`dumpFileSerial ${slow.toFixed(1)} ms`);
    console.log(`ratio ${(slow / fast).toFixed(2)}`);
    console.log(`longest stop of the event loop ${(delay.max / 1e6).toFixed(1)} ms`);
    if (workers > 0 && slow / fast < least) {
      console.error(`accepted is a ratio of ${least}`);
      process.exitCode = 1;
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

main();
