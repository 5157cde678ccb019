import './backoff.test';
import './canvas.test';
import './discovery.test';
import './draft_stream.test';
import './hunks.test';
