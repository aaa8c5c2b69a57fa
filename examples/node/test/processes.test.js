'use strict';

// In worker threads, in child processes, and what is left when a process ends.

const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const test = require('node:test');
const { promisify } = require('node:util');
const { Worker } = require('node:worker_threads');
const fastjson = require('..');
const { ADD_ON, DEADLINE_MS, makeTable, processesWith, waitFor } = require('./support.js');

const INDEX = JSON.stringify(path.join(__dirname, '..'));

/** What a worker thread does: it loads the add-on for itself. */
const IN_THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const fastjson = require(${INDEX});
fastjson.dumpFile(workerData).then((json) => parentPort.postMessage([fastjson.whyNoPool(), json.toString()]));
`;

test('in worker threads, also before the main thread has called it', async (t) => {
  const table = makeTable(t, 30000);
  for (let round = 0; round < 2; round += 1) {
    const threads = Array.from({ length: 3 }, () => new Worker(IN_THREAD, { eval: true, workerData: table }));
    const outcomes = await Promise.all(threads.map(async (thread) => (await once(thread, 'message'))[0]));
    const expected = (await fastjson.dumpFileSerial(table)).toString();
    for (const [why, json] of outcomes) {
      assert.equal(why, null);
      assert.ok(json === expected);
    }
    await Promise.all(threads.map((thread) => thread.terminate()));
    assert.ok((await fastjson.dumpFile(table)).toString() === expected);
  }
});

test('a thread that is terminated while it waits harms no other', async (t) => {
  const table = makeTable(t, 200000);
  const thread = new Worker(IN_THREAD, { eval: true, workerData: table });
  await once(thread, 'online');
  await thread.terminate();
  assert.ok((await fastjson.dumpFile(table)).equals(await fastjson.dumpFileSerial(table)));
});

/** A program that says its arguments, once for each time that it runs, and leaves without a word to the pool. */
const PROGRAM = `
console.log('run');
const fastjson = require(${INDEX});
fastjson.dumpFile(process.argv[1]).then((json) => console.log(json.length, fastjson.whyNoPool(), process.env.LD_PRELOAD));
`;

test('a program runs once, ends by itself, and leaves no process', async (t) => {
  const table = makeTable(t, 30000);
  const length = (await fastjson.dumpFile(table)).length;
  const before = processesWith(ADD_ON);
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', PROGRAM, table], { timeout: DEADLINE_MS });
  assert.equal(stdout, `run\n${length} null undefined\n`);
  await waitFor('processes are left', () => processesWith(ADD_ON).every((pid) => before.includes(pid)));
});

const WAITS = `
const fastjson = require(${INDEX});
fastjson.dumpFile(process.argv[1]).then(() => console.log('ready'));
setInterval(() => {}, 1000);
`;

test('nothing outlives a program that is killed', async (t) => {
  const table = makeTable(t, 30000);
  await fastjson.dumpFile(table);
  const before = processesWith(ADD_ON);
  for (const signal of ['SIGKILL', 'SIGTERM']) {
    const program = spawn(process.execPath, ['-e', WAITS, table], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => program.kill('SIGKILL'));
    await once(program.stdout, 'data');
    const own = processesWith(ADD_ON).filter((pid) => !before.includes(pid));
    assert.ok(own.length >= 3, `the program, its fork server and a worker: ${own}`);
    program.kill(signal);
    await once(program, 'exit');
    await waitFor('processes are left', () => processesWith(ADD_ON).every((pid) => before.includes(pid)));
  }
});
