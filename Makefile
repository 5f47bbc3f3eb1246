# SPDX-License-Identifier: Apache-2.0
# Every rule of adit. The lists are in daemon/daemon.mk, selftests/selftests.mk and
# packaging/packaging.mk. `make help` says what there is; docs/HACKING.md explains.

MAKEFLAGS += -rR
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

VERSION := 0.1.0
O ?= build

include daemon/daemon.mk selftests/selftests.mk packaging/packaging.mk

# ---- where: on this machine if it has what is needed, else in the build root ------------------
# packaging/buildroot sets ADIT_ROOT (a root's hash) in what it runs.
passed := V T U O CC DEMO_ARGS ORIGIN FUZZ_SECONDS SOAK_SECONDS SEED PEER PROTOCOL ROUNDS ONLY CI
goals := $(or $(MAKECMDGOALS),all)
outside := help clean
light := all demo debug tsan
kind := $(if $(filter cross,$(goals)),cross,$(if $(filter-out $(outside) $(light),$(goals)),test,build))

have_libs = $(shell pkg-config --exists "$(host_libs)" 2>/dev/null && \
	test "$$(gcc -dumpversion)" -ge 14 2>/dev/null && type -P clang-19 >/dev/null && echo yes)
have_tools = $(shell type -P $(host_tools) >/dev/null && \
	python3 -c 'import $(subst $(space),$(comma),$(strip $(host_python)))' 2>/dev/null && echo yes)
comma := ,
space := $(subst x, ,x)
on_host = $(and $(filter-out cross,$(kind)),$(have_libs),$(or $(filter build,$(kind)),$(have_tools)))

ifeq ($(filter-out $(outside),$(goals)),)
where := none
else
where := $(or $(ADIT_ROOT),$(and $(on_host),host))
endif

git_version = $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || \
	git describe --always --dirty --exclude '*' 2>/dev/null | sed 's/^/$(VERSION)-g/')
ADIT_VERSION := $(or $(ADIT_VERSION),$(patsubst v%,%,$(git_version)),$(VERSION))

ifeq ($(where),)

# Only what is set and not empty goes in; the jobserver of this make does not reach into a root.
export ADIT_PASS := $(passed) ADIT_VERSION
export ADIT_NET := $(if $(filter demo,$(goals)),host)
export ADIT_BIND := $(if $(filter /%,$(O)),$(shell mkdir -p $(O))$(O))
$(foreach v,$(ADIT_PASS),$(if $($v),$(eval export $v)))
flags_in := $(filter-out - --%,$(firstword -$(MAKEFLAGS)))

.PHONY: $(goals) in_root
$(goals): in_root
	@:
in_root:
	@packaging/buildroot $(kind) make -j$$(nproc) $(flags_in) $(goals)

else

# ---- modes and flags ---------------------------------------------------------------------------
# Each mode of a root has a folder of its own: build/ROOT/MODE/{bin,lib,obj,unit,fuzz}.
ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
override CC := $(or $(CC),gcc)
B := $(O)/$(where)
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-6s %s\n' '$(1)' '$(2)')

modes := release debug tsan cov clang fuzz arm64 s390x
by_cc := $(if $(filter gcc,$(CC)),,-$(CC))
dir_release := $(B)/release$(by_cc)
dir_debug := $(B)/debug$(by_cc)
dir_tsan := $(B)/tsan$(by_cc)
dir_cov := $(B)/cov
dir_clang := $(B)/clang
dir_fuzz := $(B)/fuzz
dir_arm64 := $(B)/arm64
dir_s390x := $(B)/s390x

CC_release := $(CC)
CC_debug := $(CC)
CC_tsan := $(CC)
CC_cov := gcc
CC_clang := clang-19
CC_fuzz := clang-19
CC_arm64 := aarch64-linux-gnu-gcc
CC_s390x := s390x-linux-gnu-gcc
AR_arm64 := aarch64-linux-gnu-ar
AR_s390x := s390x-linux-gnu-ar

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	-Wcast-qual -Wwrite-strings -Wundef -Wpointer-arith -Wimplicit-fallthrough -Werror
dialect := -std=gnu23 -D_GNU_SOURCE -I. -Iinclude -I$(B)/gen
common := $(dialect) $(warnings) -g -pthread -fno-omit-frame-pointer \
	-ffile-prefix-map=$(CURDIR)=.
hardened := -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=3 -fPIE
cet := $(if $(filter x86_64,$(shell uname -m)),-fcf-protection)
asan := -fsanitize=address,undefined -fno-sanitize-recover=all

cflags_release := $(hardened) $(cet)
cflags_clang := $(hardened) $(cet)
cflags_arm64 := $(hardened)
cflags_s390x := $(hardened)
cflags_debug := -O1 $(asan)
cflags_tsan := -O1 -fsanitize=thread
cflags_cov := -O0 --coverage -fprofile-update=atomic
cflags_fuzz := -O1 -fsanitize=fuzzer-no-link $(asan)

ldflags_release := -pie -Wl,-z,relro,-z,now
ldflags_clang := $(ldflags_release)
ldflags_arm64 := $(ldflags_release)
ldflags_s390x := $(ldflags_release)
ldflags_debug := $(asan)
ldflags_tsan := -fsanitize=thread
ldflags_cov := --coverage
ldflags_fuzz := $(asan)
ldflags := -pthread -Wl,--as-needed

# ---- parts -------------------------------------------------------------------------------------
live := $(foreach p,$(parts),$(if $($(p)_objs),$p))
live_progs := $(foreach p,$(progs),$(if $($(firstword $($(p)_parts))_objs),$p))

# pkg-config is asked once for each library.
arm64_lib := /usr/lib/aarch64-linux-gnu
PKG_CONFIG := $(if $(filter cross,$(kind)),PKG_CONFIG_PATH=$(arm64_lib)/pkgconfig \
	PKG_CONFIG_SYSTEM_LIBRARY_PATH=$(arm64_lib)) pkg-config
all_libs := $(sort $(foreach p,$(parts) testlib,$($(p)_libs)) cmocka \
	$(foreach t,$(unit_tests) $(fuzzers),$($(notdir $t)_libs)))
$(foreach l,$(all_libs),$(eval pc_libs_$l = $$(eval pc_libs_$l := $$(shell \
	$(PKG_CONFIG) --libs $l))$$(pc_libs_$l)))
$(foreach l,$(all_libs),$(eval pc_cflags_$l = $$(eval pc_cflags_$l := $$(shell \
	$(PKG_CONFIG) --cflags $l))$$(pc_cflags_$l)))
pc_cflags = $(foreach l,$(1),$(pc_cflags_$l))
pc_libs = $(foreach l,$(1),$(pc_libs_$l))

# $(call archives,MODE,PARTS), $(call libs,PARTS,MORE)
archives = $(foreach p,$(filter $(live),$(2)),$(dir_$(1))/lib/$(p).a)
libs = $(call pc_libs,$(sort $(foreach p,$(filter $(live),$(1)),$($(p)_libs)) $(2))) \
	$(foreach p,$(filter $(live),$(1)),$($(p)_ldlibs))
link_with = -Wl,--start-group $(filter %.o %.a,$(1)) -Wl,--end-group

# $(call compile,MODE,FLAGS): a recipe line
define compile
$(call say,CC,$@)
$(Q)mkdir -p $(@D) && $(CC_$(1)) $(common) $(cflags_$(1)) $(2) -MMD -MP -c $< -o $@
endef

# $(call link,MODE,LIBS): a recipe line
define link
$(call say,LD,$@)
$(Q)mkdir -p $(@D) && $(CC_$(1)) $(ldflags_$(1)) $(ldflags) $(call link_with,$^) $(2) -o $@
endef

# ---- programs for the kernel ---------------------------------------------------------------------
# The same bytes in every mode. They are embedded as a C array, so that nothing is looked for at run
# time. asm/types.h lies in the folder of a processor that matters to nobody here.
bpf_flags := -std=gnu17 -target bpf -I. -Iinclude -idirafter /usr/include/$(shell uname -m)-linux-gnu \
	-Wall -Wextra -Wshadow -Wundef -Werror -g -O2 -ffile-prefix-map=$(CURDIR)=.
bpf_c := $(bpf_progs:%=bpf/%.bpf.c)
bpf_embedded := $(bpf_progs:%=$(B)/gen/embed/%.bpf.h)

$(bpf_progs:%=$(B)/bpf/%.bpf.o): $(B)/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D) && clang-19 $(bpf_flags) -MMD -MP -c $< -o $@
-include $(bpf_progs:%=$(B)/bpf/%.bpf.d)

$(B)/gen/embed/%.bpf.h: $(B)/bpf/%.bpf.o
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D) && { printf 'alignas(8) static const unsigned char embed_%s[] = {\n' $* && \
		od -An -v -tu1 -w32 $< | sed 's/ \+/,/g; s/^,//; s/$$/,/' && echo '};'; } >$@

# ---- rules by mode -----------------------------------------------------------------------------
define mode_rules
# A change of flags or compiler rebuilds what they made.
$$(dir_$(1))/flags: FORCE
	@mkdir -p $$(@D); f='$$(CC_$(1)) $$(common) $$(cflags_$(1)) $$(ldflags_$(1))'; \
	[ "$$$$(cat $$@ 2>/dev/null)" = "$$$$f" ] || printf '%s\n' "$$$$f" >$$@
$$(dir_$(1))/version: FORCE
	@mkdir -p $$(@D); [ "$$$$(cat $$@ 2>/dev/null)" = '$$(ADIT_VERSION)' ] || \
	printf '%s\n' '$$(ADIT_VERSION)' >$$@
# Only this object knows the version.
$$(dir_$(1))/obj/daemon/base/version.o: $$(dir_$(1))/version
$$(dir_$(1))/obj/daemon/base/version.o: private common += -DADIT_VERSION='"$$(ADIT_VERSION)"'
$$(bpf_users:%.c=$$(dir_$(1))/obj/%.o): $$(bpf_embedded)
endef

define part_rules
$$(dir_$(1))/lib/$(2).a: $$(addprefix $$(dir_$(1))/obj/,$$($(2)_objs))
	$$(call say,AR,$$@)
	$$(Q)mkdir -p $$(@D) && rm -f $$@ && $$(or $$(AR_$(1)),ar) rcsD $$@ $$^
$$(addprefix $$(dir_$(1))/obj/,$$($(2)_objs)): $$(dir_$(1))/obj/%.o: %.c $$(dir_$(1))/flags
	$$(call compile,$(1),$$($(2)_cflags) $$(call pc_cflags,$$($(2)_libs)))
-include $$(patsubst %.o,$$(dir_$(1))/obj/%.d,$$($(2)_objs))
endef

define prog_rules
$$(dir_$(1))/bin/$(2): $$(call archives,$(1),$$($(2)_parts))
	$$(call link,$(1),$$(call libs,$$($(2)_parts)))
endef

define unit_rules
$$(dir_$(1))/unit/$(2): $$(dir_$(1))/obj/selftests/unit/$(2).o \
		$$(call archives,$(1),$$($(notdir $(2))_parts)) $$(testlib_$(1))
	$$(call link,$(1),$$($(notdir $(2))_wraps:%=-Wl,--wrap=%) \
		$$(call libs,$$($(notdir $(2))_parts),cmocka $$(testlib_libs_$(1)) $$($(notdir $(2))_libs)))
$$(dir_$(1))/obj/selftests/unit/$(2).o: selftests/unit/$(2).c $$(dir_$(1))/flags \
		$$(patsubst %,$$(B)/gen/data/%.h,$$(basename $$($(notdir $(2))_data)))
	$$(call compile,$(1),$$(call pc_cflags,$$($(notdir $(2))_libs) cmocka))
-include $$(dir_$(1))/obj/selftests/unit/$(2).d
endef

# A program that system tests and benchmarks run beside ours; it lies in tools/. One that has parts
# has the tests' library, too.
define tool_rules
$$(dir_$(1))/tools/$(2): $$(addprefix $$(dir_$(1))/obj/,$$($(2)_objs)) \
		$$(if $$($(2)_parts),$$(call archives,$(1),$$($(2)_parts)) $$(testlib_$(1)))
	$$(call link,$(1),$$(if $$($(2)_parts),$$(call libs,$$($(2)_parts),$$(testlib_libs))))
$$(addprefix $$(dir_$(1))/obj/,$$($(2)_objs)): $$(dir_$(1))/obj/%.o: %.c $$(dir_$(1))/flags
	$$(call compile,$(1))
-include $$(patsubst %.o,$$(dir_$(1))/obj/%.d,$$($(2)_objs))
endef

# A fuzzer is linked with libFuzzer in mode fuzz and with replay.c everywhere else.
define fuzz_rules
$$(dir_$(1))/fuzz/$(2): $$(dir_$(1))/obj/selftests/fuzz/$(2).o \
		$$(if $$(filter fuzz,$(1)),,$$(dir_$(1))/obj/selftests/fuzz/replay.o) \
		$$(call archives,$(1),$$($(2)_parts))
	$$(call link,$(1),$$(if $$(filter fuzz,$(1)),-fsanitize=fuzzer) $$(call libs,$$($(2)_parts),$$($(2)_libs)))
endef

define fuzz_objs
$$(dir_$(1))/obj/selftests/fuzz/%.o: selftests/fuzz/%.c $$(dir_$(1))/flags
	$$(call compile,$(1))
-include $$(patsubst %,$$(dir_$(1))/obj/selftests/fuzz/%.d,$$(fuzzers) replay)
endef

$(foreach m,$(modes),$(eval $(call mode_rules,$m)))
$(foreach m,$(modes),$(foreach p,$(live),$(eval $(call part_rules,$m,$p))))
$(foreach m,$(modes),$(foreach p,$(live_progs),$(eval $(call prog_rules,$m,$p))))
# What runs under an emulator needs libc and cmocka only.
emulated := arm64 s390x
$(foreach m,$(filter-out $(emulated),$(modes)),$(eval testlib_libs_$m := $(testlib_libs)) \
	$(if $(testlib_objs),$(eval testlib_$m := $(dir_$m)/lib/testlib.a)))
$(foreach m,$(modes),$(if $(testlib_objs),$(eval $(call part_rules,$m,testlib))))
$(foreach m,$(modes),$(foreach t,$(unit_tests),$(eval $(call unit_rules,$m,$t))))
$(foreach m,$(modes),$(foreach f,$(fuzzers),$(eval $(call fuzz_rules,$m,$f))))
$(foreach m,$(modes),$(eval $(call fuzz_objs,$m)))
$(foreach m,$(modes),$(foreach t,$(test_tools),$(eval $(call tool_rules,$m,$t))))
$(foreach t,$(bench_tools),$(eval $(call tool_rules,release,$t)))

vectors_by := selftests/lib/vectors.py selftests/data/check_overrides.py selftests/data/overrides.json
define vectors_to_c
	$(call say,GEN,$@)
	$(Q)mkdir -p $(@D) && python3 selftests/lib/vectors.py $< >$@
endef
$(B)/gen/data/%.h: selftests/data/%.json $(vectors_by)
	$(vectors_to_c)
$(B)/gen/data/%.h: selftests/data/%.md $(vectors_by)
	$(vectors_to_c)

bins = $(addprefix $(dir_$(1))/bin/,$(live_progs))
tools = $(addprefix $(dir_$(1))/tools/,$(test_tools))
units = $(addprefix $(dir_$(1))/unit/,$(2))
replays = $(addprefix $(dir_$(1))/fuzz/,$(2))

# ---- lint --------------------------------------------------------------------------------------
# What was clean is remembered by a stamp and looked at again when it or what it includes changes.
L := $(B)/lint
unit_c := $(patsubst %,selftests/unit/%.c,$(unit_tests))
fuzz_c := $(patsubst %,selftests/fuzz/%.c,$(fuzzers) $(if $(fuzzers),replay))
part_c := $(patsubst %.o,%.c,$(foreach p,$(parts),$($(p)_objs)))
tool_c := $(patsubst %.o,%.c,$(foreach t,$(test_tools),$($t_objs)))
all_c := $(part_c) $(patsubst %.o,%.c,$(testlib_objs)) $(tool_c) $(unit_c) $(fuzz_c) $(bench_c) $(bpf_c)
all_h := $(sort $(shell find include daemon netlink bpf selftests -name '*.h' 2>/dev/null))
scripts := $(sort $(shell grep -rlIE '^\#!.*\b(ba)?sh$$' packaging selftests .ci 2>/dev/null))
analyzed := $(filter daemon/wire/% daemon/conf/%,$(part_c))

part_of = $(if $(filter daemon/%,$(1)),$(word 2,$(subst /, ,$(1))),$(firstword $(subst /, ,$(1))))
flags_of = $(call pc_cflags,$($(call part_of,$(1))_libs)) $($(call part_of,$(1))_cflags)

# The analyzer stops after this many states of a function: the deep default of 225 000 finds next to
# nothing more and takes five times as long.
tidy_effort := -Xclang -analyzer-config -Xclang max-nodes=30000

$(L)/tidy/%.ok: %.c .clang-tidy selftests/.clang-tidy
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D) && clang-tidy-19 --quiet $< -- $(dialect) $(tidy_effort) $(call flags_of,$<) \
		2> >(grep -v ' warnings\? generated' >&2) && \
		clang-19 $(dialect) $(call flags_of,$<) -MM -MP -MT $@ -MF $@.d $< && touch $@

$(L)/tidy/bpf/%.ok: bpf/%.c .clang-tidy bpf/.clang-tidy
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(@D) && clang-tidy-19 --quiet $< -- $(bpf_flags) $(tidy_effort) \
		2> >(grep -v ' warnings\? generated' >&2) && \
		clang-19 $(bpf_flags) -MM -MP -MT $@ -MF $@.d $< && touch $@

$(L)/analyzer/%.ok: %.c
	$(call say,ANALYZ,$<)
	$(Q)mkdir -p $(@D) && gcc $(dialect) $(warnings) $(call flags_of,$<) -O2 -fanalyzer \
		-MMD -MP -MT $@ -MF $@.d -c $< -o $@.o && touch $@

# Twice, so that a missing guard shows.
$(L)/header/%.ok: %
	$(call say,HEADER,$<)
	$(Q)mkdir -p $(@D) && printf '#include "$<"\n#include "$<"\n' | gcc $(dialect) $(warnings) \
		$(call flags_of,$<) -MMD -MP -MT $@ -MF $@.d -x c -c - -o $@.o && touch $@

$(L)/header/bpf/%.ok: bpf/%
	$(call say,HEADER,$<)
	$(Q)mkdir -p $(@D) && printf '#include "bpf/$*"\n#include "bpf/$*"\n' | clang-19 $(bpf_flags) \
		-Wno-unused-function -MMD -MP -MT $@ -MF $@.d -x c -c - -o $@.o && touch $@

# What both kinds of compiler read.
$(L)/header/include/abi/flow_abi.h.ok: $(L)/header-bpf/flow_abi.ok
$(L)/header-bpf/%.ok: include/abi/%.h
	$(Q)mkdir -p $(@D) && clang-19 $(bpf_flags) -x c -fsyntax-only $< && touch $@

# version.c is a line, and only its own rule knows the version.
tidy_ok := $(patsubst %.c,$(L)/tidy/%.ok,$(filter-out %/version.c,$(all_c)))
analyzer_ok := $(patsubst %.c,$(L)/analyzer/%.ok,$(analyzed))
header_ok := $(patsubst %,$(L)/header/%.ok,$(all_h))
$(foreach t,$(unit_tests),$(eval $(L)/tidy/selftests/unit/$t.ok: \
	$(patsubst %,$(B)/gen/data/%.h,$(basename $($(notdir $t)_data)))))
$(bpf_users:%.c=$(L)/tidy/%.ok): $(bpf_embedded)
ifneq ($(filter lint%,$(goals)),)
-include $(addsuffix .d,$(tidy_ok) $(analyzer_ok) $(header_ok))
endif

lint_kinds := tree headers format shell man analyzer cppcheck tidy
.PHONY: lint $(lint_kinds:%=lint-%) format
lint: ## every check of the sources; one alone: lint-tree, lint-headers, -format, -tidy, -cppcheck ...
lint: $(lint_kinds:%=lint-%)

lint-tree: # ranks, sizes, lists, words (selftests/lint)
	@selftests/lint/tree $(O) $(all_c)

lint-headers: $(header_ok) # each header compiles alone

lint-format:
	@clang-format-19 --dry-run -Werror $(wildcard $(all_c)) $(all_h)

lint-shell:
	@shellcheck $(scripts)

lint-man:
	@mandoc -Tlint -W warning docs/man/*

lint-analyzer: $(analyzer_ok)

lint-cppcheck:
	@mkdir -p $(L)/cppcheck && cppcheck --quiet --std=c23 --enable=warning,portability,performance \
		--inline-suppr --error-exitcode=1 --cppcheck-build-dir=$(L)/cppcheck -j2 -D_GNU_SOURCE \
		-I. -Iinclude --suppressions-list=selftests/lint/cppcheck $(wildcard $(part_c))

lint-tidy: $(tidy_ok)

format: ## rewrite the C sources as clang-format 19 wants them
	@clang-format-19 -i $(wildcard $(all_c)) $(all_h)

# ---- targets -----------------------------------------------------------------------------------
.PHONY: FORCE all debug tsan demo unit
FORCE:

all: ## build aditd, adit-edge and adit (release)
all: $(call bins,release) $(call tools,release)

debug: ## the same with ASan and UBSan
debug: $(call bins,debug) $(call tools,debug)

tsan: ## the same with ThreadSanitizer
tsan: $(call bins,tsan) $(call tools,tsan)

demo: ## an edge, a tunnel and an origin on this machine (DEMO_ARGS=--once, ORIGIN=URL)
demo: $(call bins,release)
	@ADIT_BIN=$(abspath $(dir_release)/bin) $(demo_script) $(DEMO_ARGS)

# For work on one part.
unit_asked := $(if $(U),$(filter $(U) $(U)/%,$(unit_tests)),$(unit_tests))
unit: ## build and run unit tests under ASan and UBSan [U=PART or U=PART/test-MODULE]
unit: $(call units,debug,$(unit_asked))
	@for t in $^; do printf '== %s\n' "$$t"; $$t; done

# ---- test --------------------------------------------------------------------------------------
group_units = $(filter $(addsuffix /%,$($(1)_unit)),$(unit_tests))
group_fuzzers = $(foreach f,$(fuzzers),$(if $(filter $($(1)_unit),$(firstword $($(f)_parts))),$f))
asked := $(or $(T),$(groups))
asked_units := $(foreach g,$(asked),$(call group_units,$g))
asked_fuzzers := $(foreach g,$(asked),$(call group_fuzzers,$g))

define newline


endef
# What selftests/run has to do, a line each. $(call plan,UNIT MODES,REPLAY MODES,LINT KINDS)
plan_rows = $(foreach k,$(3),core lint $k@) $(foreach g,$(groups), \
	$(foreach m,$(1),$(foreach t,$(call group_units,$g),$g unit $(dir_$m)/unit/$t@)) \
	$(foreach m,$(2),$(foreach f,$(call group_fuzzers,$g),$g replay $(dir_$m)/fuzz/$f \
		selftests/fuzz/corpus/$(f:fuzz-%=%) $(dir_fuzz)/fuzz/found/corpus/$(f:fuzz-%=%)@)) \
	$g system@)
plan = $(subst @,$(newline),$(subst @ ,@,$(strip $(plan_rows))))

# $(call run_tests,NAME,MODE OF THE PROGRAMS,UNIT MODES,REPLAY MODES,LINT KINDS,ENVIRONMENT)
define run_tests
@mkdir -p $(B)$(file >$(B)/plan-$(1),$(call plan,$(3),$(4),$(5)))
@ADIT_BIN=$(abspath $(dir_$(2))/bin) $(6) selftests/run $(B)/plan-$(1) $(T)
endef
tests_of = $(call units,$(1),$(asked_units)) $(call replays,$(1),$(asked_fuzzers)) $(call bins,$(1)) \
	$(call tools,$(1))

.PHONY: test check-sanitizers check-asan check-tsan cross fuzz second-kernel soak bench bench-datapath cov compile_commands.json
test: ## lint, unit tests, corpora and system tests [T=GROUP]
test: $(call units,debug,$(asked_units)) $(call units,clang,$(asked_units)) \
		$(call replays,debug,$(asked_fuzzers)) $(call bins,release) $(call bins,clang) \
		$(call tools,release)
	$(call run_tests,test,release,debug clang,debug,$(lint_kinds))

# Timing is not what these two test: every wait is stretched.
slowly := ADIT_SANITIZER=1 ADIT_SLOW=4
check-sanitizers: ## the whole suite under ASan and UBSan, then under TSan [T=GROUP]
check-sanitizers: check-asan check-tsan
check-asan: $(call tests_of,debug)
	$(call run_tests,asan,debug,debug,debug,,$(slowly))
check-tsan: $(call tests_of,tsan) | check-asan
	$(call run_tests,tsan,tsan,tsan,tsan,,$(slowly))

cross_units := $(filter wire/% util/%,$(unit_tests))
cross: ## build for arm64; run the codecs' unit tests on arm64 and s390x under qemu
cross: $(call archives,arm64,$(live)) $(call bins,arm64) $(call units,arm64,$(cross_units)) $(call units,s390x,$(cross_units))
	@run() { printf '%s %s: ' "$$1" "$${2#$(B)/}"; "$$1" "$$2" 2>&1 | tail -n 1; }; \
	for t in $(call units,arm64,$(cross_units)); do run qemu-aarch64 "$$t"; done; \
	for t in $(call units,s390x,$(cross_units)); do run qemu-s390x "$$t"; done

fuzz: ## every fuzzer, two side by side [FUZZ_SECONDS=60, each]
fuzz: $(call replays,fuzz,$(fuzzers))
	@selftests/fuzz/run $(or $(FUZZ_SECONDS),60) $^

second-kernel: ## the socket half of the group datapath on Debian's kernel, emulated: half an hour or so
second-kernel: $(call units,debug,bpf/test-flow bpf/test-steer bpf/test-port_steer net/test-bpf) $(call bins,release)
	@ADIT_BIN=$(abspath $(dir_release)/bin) ADIT_WHOLE=1 python3 -m pytest -c selftests/system/pytest.ini -v -s \
		selftests/system/test_second_kernel.py

soak: ## load and random faults for an hour [SOAK_SECONDS=3600, SEED]
soak: $(call bins,release) $(call tools,release)
	@ADIT_BIN=$(abspath $(dir_release)/bin) ADIT_SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) \
		ADIT_SEED=$(SEED) python3 -m pytest -c selftests/system/pytest.ini -q -s \
		selftests/system/test_soak.py

bench: ## measure; each figure beside its budget (selftests/bench)
bench: $(call bins,release) $(bpf_progs:%=$(B)/bpf/%.bpf.o)
	@for b in $(benches); do ADIT_BIN=$(abspath $(dir_release)/bin) ADIT_BPF=$(abspath $(B)/bpf) \
		selftests/bench/$$b || exit 1; done

bench-datapath: ## UDP echoes by each path of aditd, PEER beside them (docs/benchmarks.md)
bench-datapath: $(call bins,release) $(bench_tools:%=$(dir_release)/tools/%)
	@ADIT_BIN=$(abspath $(dir_release)/bin) ADIT_TOOLS=$(abspath $(dir_release)/tools) \
		selftests/bench/datapath

cov: ## lines that the whole suite reaches [T=GROUP]
cov: $(call tests_of,cov)
	@find $(dir_cov) -name '*.gcda' -delete
	-$(call run_tests,cov,cov,cov,cov,,ADIT_SLOW=2)
	@gcovr --gcov-executable gcov-14 --root . --object-directory $(dir_cov) --filter daemon/ \
		--filter include/ --filter netlink/ --html-details $(dir_cov)/report.html --txt

# make writes it from what it knows of each object; nothing is compiled.
json_of = {"directory": "$(CURDIR)", "file": "$(1)", "command": "$(CC) $(common) $(cflags_release) \
	$(call flags_of,$(1)) -c $(1)"}
json_of_bpf = {"directory": "$(CURDIR)", "file": "$(1)", "command": "clang-19 $(bpf_flags) -c $(1)"}
compile_commands.json: ## for editors and language servers
	$(file >$@,[$(subst } {,}$(comma)$(newline){,$(strip $(foreach c,$(filter-out bpf/%,$(all_c)),$(call json_of,$c)) \
		$(foreach c,$(bpf_c),$(call json_of_bpf,$c))))])
	@echo $@

endif

# ---- everywhere --------------------------------------------------------------------------------
.PHONY: help clean
help: ## this list
	@sed -n 's/^\([a-z][a-z_.-]*\): *## \(.*\)/  \1\t\2/p' Makefile | sort -u | expand -t 26
	@printf '\n  V=1 shows commands, O=DIR puts the output elsewhere, CC=clang-19 compiles with clang\n'

clean: ## remove the output of every build (build roots stay: packaging/buildroot clean)
	rm -rf $(O)
