// Runs in the browser's audio thread: hands the microphone's samples on.
registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels[0]) this.port.postMessage(channels[0].slice());
    return true;
  }
});
