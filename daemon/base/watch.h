/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells when a file has other content (inotify): written in place, replaced by renaming, or reached
 * by a symbolic link in its own directory that now points elsewhere. Control thread.
 */
#ifndef DAEMON_BASE_WATCH_H
#define DAEMON_BASE_WATCH_H

struct mainloop;
struct watch;

/*
 * Watches the directory of path. on_change comes from the loop, a tenth of a second after a
 * change, once for all of that time, and only if the file is there and is another one or has
 * another time or size than when it was last looked at. Returns 0, -ENOMEM, or what inotify said.
 */
[[nodiscard]] int watch_new(struct mainloop *ml, const char *path, void (*on_change)(void *arg),
			    void *arg, struct watch **ret);
/* Accepts NULL. Also from on_change. */
void watch_free(struct watch *w);

#endif
