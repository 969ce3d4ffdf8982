// The npm package `ws` follows an inbox and prints a line for each notification. When the connection ends it connects again and
// resumes. Arguments: the socket's URL, the token, how many notifications to wait for.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_TOOLS}/`);
const WebSocket = require('ws');
const [url, token, wanted] = process.argv.slice(2);
let last = null;
let seen = 0;

function connect() {
  const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
  socket.on('open', () => { if (last) socket.send(JSON.stringify({ type: 'resume', after: last })); });
  socket.on('message', (text) => {
    const frame = JSON.parse(text);
    if (frame.type === 'connected') {
      console.log(JSON.stringify({ type: 'connected', id: frame.id }));
      last ??= frame.id;
      return;
    }
    if (frame.type !== 'notification.new') return;
    last = frame.id;
    console.log(JSON.stringify({ type: 'notification', id: frame.id, notification: frame.notification.id, title: frame.notification.title }));
    seen += 1;
    if (seen === Number(wanted)) process.exit(0);
  });
  socket.on('error', () => {});
  socket.on('close', () => setTimeout(connect, 200));
}

connect();
setTimeout(() => { console.error(`saw ${seen} of ${wanted} in time`); process.exit(1); }, 60_000);
