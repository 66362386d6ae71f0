// node play.bundle.js REQUESTS.json ANSWERS.json
//
// Each request holds a folder, notes (one NoteSequence per song), inputs ([n][steps][depth]), z ([n][z_size]) and, for a
// model with conditioning, controls. Its answer holds the tensors of the notes and their mu, the mu of the inputs, the
// most likely frames for z, the notes of these frames and, for samples (a number), the notes of as many samples at
// temperature 1; or the error that magenta.js throws.
globalThis.performance = globalThis.performance || require('perf_hooks').performance;
const fs = require('fs');
const http = require('http');
const path = require('path');
const { MusicVAE } = require('@magenta/music/node/music_vae');
const { NoteSequence } = require('@magenta/music/node/protobuf');
const tf = require('@tensorflow/tfjs');

const { Note } = NoteSequence;
const HELD = [
  'pitch', 'quantizedStartStep', 'quantizedEndStep', 'startTime', 'velocity', 'program', 'instrument', 'isDrum'
];

function controlArgs({ chordProgression, extraControls }) {
  const args = {};
  if (chordProgression) args.chordProgression = chordProgression;
  if (extraControls) {
    args.extraControls = {};
    for (const name in extraControls) args.extraControls[name] = tf.tensor2d(extraControls[name]);
  }
  return args;
}

const held = (note) => Object.fromEntries(HELD.map((key) => [key, note[key]]));

async function answer(url, request) {
  const model = new MusicVAE(url);
  await model.initialize();
  const controls = controlArgs(request);
  const tensors = [], notesMu = [], mu = [], frames = [], notes = [];
  for (const song of request.notes) {
    const sequence = () => NoteSequence.create({ ...song, notes: song.notes.map(Note.create) });
    tensors.push(model.dataConverter.toTensor(sequence()).arraySync());
    notesMu.push(...(await model.encode([sequence()], controls)).arraySync());
  }
  for (const frames of request.inputs) {
    mu.push(...(await model.encodeTensors(tf.tensor3d([frames]), controls)).arraySync());
  }
  for (const z of request.z) {
    const z2d = tf.tensor2d([z]);
    frames.push(...(await model.decodeTensors(z2d, undefined, controls)).arraySync());
    for (const song of await model.decode(z2d, undefined, controls, request.stepsPerQuarter)) {
      notes.push(song.notes.map(held));
    }
  }
  const samples = request.samples ? await model.sample(request.samples, 1) : [];
  return { tensors, notesMu, mu, frames, notes, samples: samples.map((song) => song.notes.map(held)) };
}

const [requests, answers] = process.argv.slice(2);
const asked = JSON.parse(fs.readFileSync(requests));
const server = http.createServer((request, response) => {
  const [, k, name] = request.url.split('/');
  const file = path.join(asked[k].folder, path.basename(name));
  if (fs.existsSync(file)) response.end(fs.readFileSync(file));
  else { response.statusCode = 404; response.end(); }
});
server.listen(0, '127.0.0.1', async () => {
  const results = [];
  for (let k = 0; k < asked.length; ++k) {
    try {
      results.push(await answer(`http://127.0.0.1:${server.address().port}/${k}`, asked[k]));
    } catch (error) {
      results.push({ error: String(error) });
    }
  }
  fs.writeFileSync(answers, JSON.stringify(results));
  server.close();
  process.exit(0);
});
