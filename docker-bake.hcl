# Every build of this project. 'docker buildx bake' builds the image; 'docker buildx bake --list=variables' lists what
# can be varied. A null default is the Dockerfile's own.

variable "IMAGE" {
  default     = "isx"
  description = "Name of the image, without tag; a registry's prefix goes here."
}
variable "BASE_IMAGE" {
  default     = null
  description = "Base of the runtime: Debian 12 or 13, or an image of Python 3.9, 3.11 or 3.13 made of one."
}
variable "BASE_DIGEST" {
  default     = null
  description = "Digest of BASE_IMAGE for the labels, where its name does not carry it."
}
variable "DEBIAN_SNAPSHOT" {
  default     = null
  description = "Address of a dated snapshot of the distribution's archive (.../debian/<time>): pins every package of the base."
}
variable "RUNTIME_PACKAGES" {
  default     = null
  description = "More packages of the distribution for the runtime, by name, separated by spaces."
}
variable "PYTHON_PACKAGES" {
  default     = null
  description = "More Python packages: name==version --hash=sha256:..., each with all of its hashes, separated by spaces."
}
variable "FOUND_PACKAGES" {
  default     = ""
  description = "For the label: packages that the build found for the product; Make asks the build for them."
}
variable "NUMPY" {
  default     = ""
  description = "1: NumPy 1, for a product that needs it."
}
variable "ISX_SOURCE" {
  default     = ""
  description = "public: the public isx, although an installer is there; idps: IDPS or nothing. Unless set, an accepted licence decides."
}
variable "ISX_VERSION" {
  default     = null
  description = "Version of the public isx."
}
variable "ISX_SHA256" {
  default     = null
  description = "sha256 of its wheels, one for each Python, separated by spaces."
}
variable "INSTALLER" {
  default     = ""
  description = "Path of the IDPS installer; for Make alone."
}
variable "INSTALLER_DIR" {
  default     = ""
  description = "Folder that holds the IDPS installer, if not the root of the project; bind-mounted into the build."
  # Said here because a context that is a file ends the client in words of its own, before any stage runs.
  validation {
    condition     = length(regexall("\\.sh(\\.[^/]*)?$", INSTALLER_DIR)) == 0
    error_message = "INSTALLER_DIR=${INSTALLER_DIR} is a file: name its folder, or use 'make image INSTALLER=path'."
  }
}
variable "INSTALLER_SECRET" {
  default     = ""
  description = "Path of an installer of at most 500 KiB, passed as a secret instead; for Make alone, which checks the size."
}
variable "INSTALLER_URL" {
  default     = ""
  description = "Signed address from which the builder fetches the installer; passed as a secret; needs INSTALLER_SHA256."
}
variable "INSTALLER_SHA256" {
  default     = ""
  description = "sha256 that the installer must have."
}
variable "INSTALLER_VERSION" {
  default     = ""
  description = "Version that the installer must report; part of the image's tag."
}
variable "INSTALLER_TIMEOUT" {
  default     = null
  description = "Seconds after which an installer counts as stuck."
}
variable "ACCEPT_EULA" {
  default     = ""
  description = "Y accepts the vendor's licence, and asks for IDPS."
}
variable "ISX_TREE" {
  default     = null
  description = "full: the whole installed tree; api: the Python API and the libraries that it reaches (no GUI, no MATLAB)."
}
variable "PROOF" {
  default     = null
  description = "algorithms: the build runs those of IDPS on a small movie; load: it only loads the API."
}
variable "LICENCE" {
  default     = ""
  description = "Path of a licence file for IDPS, if its algorithms want one; passed as a secret, for the proof alone."
}
variable "SSL_CERT_FILE" {
  default     = ""
  description = "CA bundle for package downloads behind a TLS proxy; passed as a secret."
}
variable "PIP_CONFIG_FILE" {
  default     = ""
  description = "pip configuration for package downloads, such as an internal index; passed as a secret."
}
variable "HTTP_PROXY" {
  default     = null
  description = "Proxy for downloads, as the rest of your machine has it; also HTTPS_PROXY and NO_PROXY, and in small letters."
}
variable "HTTPS_PROXY" { default = null }
variable "NO_PROXY" { default = null }
variable "http_proxy" { default = null }
variable "https_proxy" { default = null }
variable "no_proxy" { default = null }
variable "SOURCE_DATE_EPOCH" {
  default     = "1735689600"
  description = "Creation time of the image, seconds since 1970."
}
variable "REVISION" {
  default     = ""
  description = "Commit that the image is built from."
}
variable "SOURCE_URL" {
  default     = ""
  description = "Where the source of the image is published."
}

variable "UPGRADE" {
  default     = ""
  description = "Not empty: 'lock' takes newer releases."
}

# Which isx the image holds, as the Dockerfile decides it, and the tag that says so.
HOLDS = ISX_SOURCE != "" ? ISX_SOURCE : ACCEPT_EULA != "" ? "idps" : "public"
TAG   = HOLDS == "idps" && INSTALLER_VERSION != "" ? "idps-${INSTALLER_VERSION}" : HOLDS

group "default" {
  targets = ["image"]
}

target "_common" {
  context   = "."
  platforms = ["linux/amd64"] # the only one that Inscopix ships isx for
  # Holds the time of the build: where an image's digest covers it, each build would have another.
  # --provenance=mode=max on the command line brings it back.
  attest = ["type=provenance,disabled=true"]
  args = {
    BASE_IMAGE        = BASE_IMAGE
    BASE_DIGEST       = BASE_DIGEST
    DEBIAN_SNAPSHOT   = DEBIAN_SNAPSHOT
    NUMPY             = NUMPY
    RUNTIME_PACKAGES  = RUNTIME_PACKAGES
    PYTHON_PACKAGES   = PYTHON_PACKAGES
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
    REVISION          = REVISION
    SOURCE_URL        = SOURCE_URL
    CREATED           = timeadd("1970-01-01T00:00:00Z", "${SOURCE_DATE_EPOCH}s")
    # BuildKit knows these by itself: they are no part of the cache key, nor of the image.
    HTTP_PROXY  = HTTP_PROXY
    HTTPS_PROXY = HTTPS_PROXY
    NO_PROXY    = NO_PROXY
    http_proxy  = http_proxy
    https_proxy = https_proxy
    no_proxy    = no_proxy
  }
  secret = concat(
    SSL_CERT_FILE != "" ? ["id=ca,src=${SSL_CERT_FILE}"] : [],
    PIP_CONFIG_FILE != "" ? ["id=pip,src=${PIP_CONFIG_FILE}"] : [],
  )
}

target "image" {
  inherits    = ["_common"]
  description = "The image: the public isx, or IDPS from its installer."
  target      = "runtime"
  contexts    = { installer = INSTALLER_DIR != "" ? INSTALLER_DIR : "." }
  args = {
    IMAGE             = IMAGE
    ISX_SOURCE        = ISX_SOURCE
    ACCEPT_EULA       = ACCEPT_EULA
    ISX_VERSION       = ISX_VERSION
    ISX_SHA256        = ISX_SHA256
    INSTALLER_VERSION = INSTALLER_VERSION
    INSTALLER_SHA256  = INSTALLER_SHA256
    INSTALLER_TIMEOUT = INSTALLER_TIMEOUT
    ISX_TREE          = ISX_TREE
    FOUND_PACKAGES    = FOUND_PACKAGES
    PROOF             = PROOF
    INSTALLER_WAYS = join(" ", concat(
      INSTALLER != "" ? ["INSTALLER"] : [],
      INSTALLER_DIR != "" ? ["INSTALLER_DIR"] : [],
      INSTALLER_SECRET != "" ? ["INSTALLER_SECRET"] : [],
      INSTALLER_URL != "" ? ["INSTALLER_URL"] : [],
    ))
  }
  secret = concat(
    LICENCE != "" ? ["id=licence,src=${LICENCE}"] : [],
    INSTALLER_URL != "" ? ["id=installer_url,env=INSTALLER_URL"] : [],
  )
  tags   = ["${IMAGE}:${TAG}", "${IMAGE}:latest"]
  output = ["type=docker"]
}

target "found-packages" {
  inherits = ["image"]
  target   = "found-packages"
  tags     = []
  output   = ["type=local,dest=build/found"]
}

# Tests, checks and locks.

group "validate" {
  targets = ["lint", "check"]
}

target "_tests" {
  inherits   = ["_common"]
  dockerfile = "tests/Dockerfile"
  contexts   = { builder = "target:builder" }
}

target "builder" {
  inherits = ["_common"]
  target   = "builder"
}

target "deps" {
  inherits = ["_common"]
  target   = "deps"
  output   = ["type=cacheonly"]
}

target "runtime" {
  inherits = ["image"]
  args     = { ISX_SOURCE = "public" } # tests and benchmarks, whatever was dropped in
  tags     = []
}

target "test" {
  inherits    = ["_tests"]
  description = "The image plus pytest; run it to run the unit tests."
  target      = "test"
  contexts    = { runtime = "target:runtime" }
  tags        = ["${IMAGE}:test"]
  output      = ["type=docker"]
}

target "browser" {
  inherits    = ["_tests"]
  description = "The adapter beside a browser; run it to look at its pages."
  target      = "browser"
  contexts    = { runtime = "target:runtime" }
  tags        = ["${IMAGE}:browser"]
  output      = ["type=docker"]
}

target "tools" {
  inherits = ["_tests"]
  target   = "tools"
}

target "isx-public" {
  inherits = ["image"]
  target   = "isx-public"
  args     = { ISX_SOURCE = "public" }
  tags     = []
}

target "test-installer" {
  inherits    = ["_common"]
  description = "Stand-ins for the IDPS installer, sound and broken, for the image tests."
  context     = "tests/installer"
  contexts    = { tools = "target:tools", isx-public = "target:isx-public" }
  output      = ["type=local,dest=build/installers"]
}

# What bench/ compares the image with.

target "base" {
  inherits = ["_common"]
  target   = "base"
}

target "bench-runtime-install" {
  inherits   = ["_common"]
  dockerfile = "bench/baseline/Dockerfile"
  contexts   = { base = "target:base", installers = "build/installers" }
  tags       = ["${IMAGE}:runtime-install"]
  output     = ["type=docker"]
}

target "bench-single-stage" {
  inherits   = ["_common"]
  dockerfile = "bench/single-stage/Dockerfile"
  contexts   = { base = "target:base" }
  args       = { ISX_VERSION = ISX_VERSION }
  tags       = ["${IMAGE}:single-stage"]
  output     = ["type=docker"]
}

target "lint" {
  inherits    = ["_tests"]
  description = "hadolint, shellcheck, ruff."
  target      = "validate"
  output      = ["type=cacheonly"]
}

target "check" {
  inherits    = ["image"]
  description = "BuildKit's own checks of the Dockerfile."
  call        = "check"
  tags        = []
  output      = ["type=cacheonly"]
}

target "lock" {
  inherits        = ["_tests"]
  description     = "Write the hashed locks from each .in file."
  target          = "lock"
  args            = { UPGRADE = UPGRADE }
  no-cache-filter = ["compiled"]
  output          = ["type=local,dest=."]
}

target "lock-check" {
  inherits        = ["_tests"]
  description     = "Fail if a lock does not follow from its .in file."
  target          = "lock-check"
  no-cache-filter = ["compiled"]
  output          = ["type=cacheonly"]
}
