.PHONY: install demo check test agents bench lock image

install: ## .venv with everything that development needs
	scripts/install --dev

demo: ## an agent being stopped, offline
	scripts/demo

check: install ## format, lint, types, import contracts, tests with coverage
	scripts/check

test: ## all that CI runs: `check`, and real client SDKs
	scripts/test

agents: install ## Codex CLI and Claude Code through the sidecar (installs 640 MB)
	tests/clients/setup.sh
	HOLDFAST_REQUIRE_CLIENTS=1 .venv/bin/pytest tests/clients -m agents

image: ## the image, without Docker, and put to the test (root, buildah, runc, debootstrap)
	scripts/image

bench: ## Holdfast and its peers under the same load (installs 1.3 GB into bench/.peers)
	scripts/bench

PIP_COMPILE = pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

lock: ## newest versions that pyproject.toml allows (needs pip-tools)
	$(PIP_COMPILE) --upgrade --extra encryption --extra redis -o requirements.lock pyproject.toml
	$(PIP_COMPILE) --upgrade -c requirements.lock --extra encryption --extra redis --extra prices --extra test --extra dev \
		-o requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) --upgrade --build-deps-for wheel --only-build-deps \
		-o requirements-build.lock pyproject.toml
