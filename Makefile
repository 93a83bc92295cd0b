# plumb: `make` builds ./plumb; `make help` lists the rest.

PREFIX  ?= /usr/local
ifeq ($(origin CC),default)
  CC    := gcc
endif
# The kernels are compiled for one processor: this one, unless told otherwise (e.g. ARCH=x86-64-v3).
ARCH    ?= native
VERSION := 0.1.0

PACKAGES := lua5.4 openblas readline zlib
DEFINES  := -D_GNU_SOURCE -DPLUMB_VERSION=\"$(VERSION)\" -Icore
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow
# -fwrapv: int64 tensors wrap. The two maths flags let loops with sqrt, rint or comparisons use vectors; NaN, infinity
# and the order of sums stay as written.
CODEGEN  := -std=gnu17 -march=$(ARCH) -fwrapv -fno-math-errno -fno-trapping-math -pthread
# Vectors as wide as the processor has them: left to themselves, compilers use half of AVX-512 for fear of lower clocks.
IS_X86   := $(filter x86_64-%,$(shell $(CC) -dumpmachine))
CODEGEN  += $(if $(IS_X86),-mprefer-vector-width=512)

ifeq ($(SAN),1)
  BUILD    := build/san
  CFLAGS   ?= -O1 -g
  CODEGEN  += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
  # A request for too much memory must come back as NULL, as it does without the sanitizer.
  # detect_stack_use_after_return stays off: gcc 12 misaligns AVX variables under it, which looks like a crash of ours.
  TEST_ENVIRONMENT := ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
else
  BUILD    := build/release
  CFLAGS   ?= -O3 -g
endif

PROGRAM := plumb
SOURCES := $(wildcard core/*.c) $(wildcard bindings/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

.DELETE_ON_ERROR:
.PHONY: all help deps packages data test lint demo bench bench-peer counts docs install uninstall clean .FORCE

all: $(PROGRAM)

help:
	@sed -n 's/^## //p' Makefile

## make            builds ./plumb
## make deps       installs what is missing (Debian packages) and fetches the data
## make data       fetches MNIST
## make test       builds and runs the tests; SAN=1 does so under ASan and UBSan, TESTS="FILE ..." runs only those
## make lint       luacheck, and the order of includes in core/
## make demo       all experiments in a quick form, in under three minutes, as one page: runs/demo/report.html
## make bench      plumb beside PyTorch and the machine's limits; WORKLOADS="NAME ..." measures only those
## make counts     instruction counts of four small workloads against the kept ones; KEEP=1 keeps those of now
## make bench-peer a current PyTorch for it, in build/peer (Debian's python3-torch is used too where it is installed)
## make docs       the reference as HTML, in build/docs
## make install    into PREFIX=/usr/local, below DESTDIR; ARCH=x86-64-v3 for other processors than this one
## make uninstall  removes what install put there
## make clean      removes what was built

# ---- building ----

# Libraries are looked for when the first file is compiled, and not sooner: `make deps test` installs them before that.
ask_pkg_config = $(if $(shell pkg-config --exists --print-errors $(PACKAGES) && echo found),$(shell pkg-config $(1) \
  $(PACKAGES)),$(error plumb is built on $(PACKAGES), and pkg-config does not find them all: run `make deps`))
PACKAGE_CFLAGS = $(eval PACKAGE_CFLAGS := $(call ask_pkg_config,--cflags))$(PACKAGE_CFLAGS)
PACKAGE_LIBS   = $(eval PACKAGE_LIBS := $(call ask_pkg_config,--libs))$(PACKAGE_LIBS)
# glibc's vector maths, which kernel_elementwise.c uses on this processor family.
VECTOR_LIBS   := $(if $(IS_X86),-lmvec)

# Rebuilt when the processor or the flags change: objects for another machine would not run.
STAMP := $(BUILD)/flags
FLAGS := $(CC) $(DEFINES) $(CPPFLAGS) $(CODEGEN) $(CFLAGS) $(WARNINGS) $(shell $(CC) -march=$(ARCH) -Q --help=target \
  2>/dev/null | grep -E '^ *-m(arch|tune)=' | tr -d '\t\n')
# ./plumb is linked anew when the other kind of build was the last, or a source file is gone.
LINK   := $(BUILD) $(LDFLAGS) $(SOURCES)
LINKED := $(if $(filter plumb,$(PROGRAM)),build,$(BUILD))/link
write_if_changed = mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' > $@

$(STAMP): .FORCE
	@$(call write_if_changed,$(FLAGS))

$(LINKED): .FORCE
	@$(call write_if_changed,$(LINK))

$(BUILD)/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	$(CC) $(DEFINES) $(CPPFLAGS) $(CODEGEN) $(CFLAGS) $(WARNINGS) $(PACKAGE_CFLAGS) -MMD -MP -c $< -o $@

$(PROGRAM): $(OBJECTS) $(LINKED)
	$(CC) $(CODEGEN) $(CFLAGS) $(LDFLAGS) -Wl,-E -o $@ $(OBJECTS) $(PACKAGE_LIBS) $(VECTOR_LIBS) -lm

-include $(OBJECTS:.o=.d)

# ---- setting up ----

deps: packages data

packages:
	@sh tests/deps.sh

data: $(PROGRAM)
	@./$(PROGRAM) -e 'require("plumb.data.fetch")()'

# With -j too, `make deps test` builds nothing before the packages are there and runs nothing before the data is.
ifneq ($(filter deps,$(MAKECMDGOALS)),)
$(OBJECTS): | packages
test lint demo bench: | deps
endif

# ---- running ----

test: $(PROGRAM)
	$(TEST_ENVIRONMENT) ./$(PROGRAM) tests/run.lua $(TESTS)

lint: $(PROGRAM)
	luacheck --quiet lua scripts tests
	./$(PROGRAM) tests/lint_includes.lua

DEMO := runs/demo
DEMO_DATASET = $$(./$(PROGRAM) -e 'print(require("plumb.data").paths("mnist") and "mnist" or "fashion_mnist")')

demo: $(PROGRAM)
	./$(PROGRAM) scripts/report.lua --quick --overwrite --out $(DEMO) --dataset $(DEMO_DATASET)

bench: $(PROGRAM) build/bench/limits
	./$(PROGRAM) tests/bench/run.lua $(WORKLOADS)

# A build beside the usual one.
COUNTED := build/counts/plumb
counts: $(PROGRAM)
	@$(MAKE) --silent BUILD=build/counts PROGRAM=$(COUNTED) ARCH=x86-64-v3 SAN= CFLAGS="-O3 -g" $(COUNTED)
	@./$(PROGRAM) tests/bench/counts.lua $(COUNTED) $(if $(KEEP),--keep)

bench-peer:
	@sh tests/bench/peer.sh

# For the processor that it runs on, whatever ARCH plumb is built for.
build/bench/limits: tests/bench/limits.c
	@mkdir -p $(@D)
	$(CC) -O3 -march=native $(WARNINGS) -pthread $< -o $@ $(shell pkg-config --cflags --libs openblas)

docs: $(PROGRAM)
	@./$(PROGRAM) -e 'require("plumb.help.html").write("build/docs")'
	@echo "The reference is in build/docs/index.html"

# ---- installing ----

# Below share/plumb a user's data may stand too (PREFIX=~/.local): only plumb's own folders are replaced and removed.
BIN   = $(DESTDIR)$(PREFIX)/bin
SHARE = $(DESTDIR)$(PREFIX)/share/plumb
DOC   = $(DESTDIR)$(PREFIX)/share/doc/plumb

install: $(PROGRAM)
	rm -rf "$(SHARE)/lua" "$(SHARE)/scripts"
	install -D -m 755 $(PROGRAM) "$(BIN)/plumb"
	find lua scripts -name '*.lua' -exec install -D -m 644 '{}' "$(SHARE)/{}" ';'
	install -D -m 644 -t "$(DOC)" LICENSE README.md

uninstall:
	rm -rf "$(SHARE)/lua" "$(SHARE)/scripts" "$(DOC)"
	rm -f "$(BIN)/plumb"
	[ ! -d "$(SHARE)" ] || rmdir --ignore-fail-on-non-empty "$(SHARE)"

clean:
	rm -rf build $(PROGRAM)
