/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unshare(2) and the ip command.
 */
#include "selftests/lib/own_net.h"

#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 24 };

bool own_net_enter(void)
{
	return unshare(CLONE_NEWNET) == 0;
}

int own_net_run(const char *command)
{
	char text[256];
	char *words[WORDS + 1] = {};
	char *rest = text;
	(void)snprintf(text, sizeof(text), "%s", command);
	for (unsigned int n = 0; n < WORDS && rest; n++)
		words[n] = strsep(&rest, " ");
	pid_t pid = -1;
	int status = -1;
	if (posix_spawnp(&pid, words[0], NULL, NULL, words, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

bool own_net_make_pair(void)
{
	return own_net_run("ip link add eth1 type veth peer name peer1") == 0 &&
	       own_net_run("ip link set eth1 up") == 0 && own_net_run("ip link set peer1 up") == 0;
}

void own_net_remove_pair(void)
{
	if (if_nametoindex("eth1"))
		(void)own_net_run("ip link del eth1");
}
