/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version of this build. A file of its own so that a new commit recompiles one object.
 */
#include "daemon/base/version.h"

const char adit_version[] = ADIT_VERSION;
