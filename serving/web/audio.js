// A sound: a file, or what the microphone hears, with its waveform. The file goes to the model as it is.
import { make } from "./common.js";
import { dropzone } from "./files.js";
import { wav } from "./wav.js";

const WIDTH = 600, HEIGHT = 90;

export function audio(input, changed) {
  let file = null, heard = null, recording = null;
  const canvas = make("canvas", { width: WIDTH, height: HEIGHT, hidden: true });
  const hint = make("p", { className: "hint" });
  const says = `Up to ${input.seconds} s; the model hears ${input.rate.toLocaleString("en")} samples a second.`;
  hint.textContent = says;
  const record = make("button", { type: "button", textContent: "● Record", onclick: () => (recording ? stop() : start()) });
  const play = make("button", { type: "button", className: "quiet", textContent: "▶ Play", disabled: true, onclick: () => sound(heard) });
  record.disabled = !navigator.mediaDevices?.getUserMedia;
  if (record.disabled) record.title = "Browsers give the microphone to https and localhost only.";
  const zone = dropzone("audio/wav,audio/flac,.wav,.flac", "Drop or choose a sound (WAV or FLAC)", input.name, take);
  zone.append(canvas);
  return { element: make("div", {}, zone, make("div", { className: "actions" }, record, play), hint), value: () => file, take };

  async function take(given) {
    file = given;
    changed();
    try {
      heard = await new OfflineAudioContext(1, 1, 44100).decodeAudioData(await given.arrayBuffer());
      if (file !== given) return;
      wave(canvas, heard.getChannelData(0));
      hint.textContent = `${heard.duration.toFixed(2)} s. ${says}`;
    } catch {
      heard = null;
      hint.textContent = `This browser cannot read it. ${says}`;
    }
    canvas.hidden = play.disabled = !heard;
  }

  async function start() {
    try {
      const microphone = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
      const context = new AudioContext({ sampleRate: input.rate });
      await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
      const node = new AudioWorkletNode(context, "recorder");
      const pieces = [];
      node.port.addEventListener("message", ({ data }) => {
        pieces.push(data);
        const seconds = pieces.length * data.length / input.rate;
        hint.textContent = `${seconds.toFixed(1)} of ${input.seconds} s`;
        if (seconds + data.length / input.rate > input.seconds) stop();
      });
      node.port.start();
      context.createMediaStreamSource(microphone).connect(node);
      recording = { microphone, context, pieces };
      record.textContent = "■ Stop";
      record.classList.add("recording");
    } catch (error) {
      hint.textContent = `No microphone: ${error.message}`;
    }
  }

  function stop() {
    if (!recording) return;
    const { microphone, context, pieces } = recording;
    recording = null;
    for (const track of microphone.getTracks()) track.stop();
    context.close();
    record.textContent = "● Record";
    record.classList.remove("recording");
    const samples = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) { samples.set(piece, at); at += piece.length; }
    take(new File([wav(samples, input.rate)], "recording.wav", { type: "audio/wav" }));
  }
}

function sound(buffer) {
  const context = new AudioContext();
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.addEventListener("ended", () => context.close());
  source.start();
}

function wave(canvas, samples) { // the least and the greatest sample of each column
  const pen = canvas.getContext("2d");
  canvas.hidden = false;
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  pen.fillStyle = getComputedStyle(canvas).color;
  const each = samples.length / WIDTH;
  for (let column = 0; column < WIDTH; column += 1) {
    let low = 0, high = 0;
    const end = Math.max((column + 1) * each, Math.floor(column * each) + 1);
    for (let at = Math.floor(column * each); at < end && at < samples.length; at += 1) {
      low = Math.min(low, samples[at]);
      high = Math.max(high, samples[at]);
    }
    pen.fillRect(column, HEIGHT / 2 - high * HEIGHT / 2, 1, Math.max(1, (high - low) * HEIGHT / 2));
  }
}
