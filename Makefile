# Every target only forwards to ./careforall, which knows the work. Arguments: make test ARGS="--full -k donations"
.DEFAULT_GOAL := help
ARGS ?=

.PHONY: help up down status logs doctor test bench verify
help:
	@./careforall --help

up down status logs doctor test bench verify:
	@./careforall $@ $(ARGS)
