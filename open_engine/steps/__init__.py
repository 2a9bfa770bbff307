"""The steps: each module holds one public function of its own name. docs/open-engine.md says what each computes."""
