// The npm package `eventsource` follows an inbox and prints a line for each notification. It connects again by itself and says
// behind which id it goes on. Arguments: the stream's URL, the token, how many notifications to wait for.
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_TOOLS}/`);
const { EventSource } = require('eventsource');
const [url, token, wanted] = process.argv.slice(2);
const stream = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
let seen = 0;
stream.addEventListener('connected', (event) => console.log(JSON.stringify({ type: 'connected', id: event.lastEventId })));
stream.addEventListener('notification', (event) => {
  const { id, title } = JSON.parse(event.data);
  console.log(JSON.stringify({ type: 'notification', id: event.lastEventId, notification: id, title }));
  seen += 1;
  if (seen === Number(wanted)) {
    stream.close();
    process.exit(0);
  }
});
setTimeout(() => { console.error(`saw ${seen} of ${wanted} in time`); process.exit(1); }, 60_000);
