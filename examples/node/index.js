'use strict';

// The add-on as users see it. All functions that read a file give a promise: a thread of libuv's waits for the workers.

const path = require('node:path');

const file = path.join(__dirname, 'fastjson.node');
let native;
try {
  native = require(file);
} catch (error) {
  error.message = `fastjson: the add-on cannot be loaded; build it by "sh build.sh" in ${__dirname}: ${error.message}`;
  throw error;
}

module.exports = {
  dumpFile: native.dumpFile,
  dumpFileSerial: native.dumpFileSerial,
  makeFile: native.makeFile,
  whyNoPool: native.whyNoPool,
  workers: native.workers,
};
