# Installs edge-xray from this folder. Needs Python, and no network.
#
#   powershell -ExecutionPolicy Bypass -File install.ps1 [-Prefix DIR] [-Rollback] [-Uninstall]
#
# Each version has a folder of its own below PREFIX\versions; edge-xray.cmd calls the one in use and is
# written last, after the new version has passed its self-test.
param(
  [string]$Prefix = (Join-Path $env:LOCALAPPDATA 'edge-xray'),
  [switch]$Rollback,
  [switch]$Uninstall
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 3
$kit = $PSScriptRoot
$versions = Join-Path $Prefix 'versions'
$command = Join-Path $Prefix 'edge-xray.cmd'
$current = Join-Path $Prefix 'current.txt'
$previous = Join-Path $Prefix 'previous.txt'

function Stop-Install([string]$Text) {
  [Console]::Error.WriteLine("install: $Text")
  exit 1
}

# The version that a file names; empty where it is missing, or a power cut left it empty or full of zeros.
function Read-Version([string]$Path) {
  if (-not (Test-Path -LiteralPath $Path)) { return '' }
  return "$(Get-Content -LiteralPath $Path -TotalCount 1)" -replace '[^\w.+-]', ''
}

function Use-Version([string]$Id) {
  # Relative to the .cmd file: a folder's name may hold letters that no code page of cmd.exe has.
  $temporary = "$command.new"
  Set-Content -LiteralPath $temporary -Encoding ASCII -Value "@`"%~dp0versions\$Id\venv\Scripts\edge-xray.exe`" %*"
  Move-Item -Force -LiteralPath $temporary -Destination $command
  Set-Content -LiteralPath $current -Encoding ASCII -Value $Id
}

if ($Uninstall) {
  if (-not (Test-Path -LiteralPath $versions)) { Stop-Install "nothing is installed in $Prefix" }
  Remove-Item -Recurse -Force -LiteralPath $versions
  Remove-Item -Force -ErrorAction SilentlyContinue -LiteralPath $command, $current, $previous
  Write-Output 'edge-xray is removed. Results of scans are where they were.'
  exit 0
}
if ($Rollback) {
  $back = Read-Version $previous
  $now = Read-Version $current
  if (-not $back -or $back -eq $now -or -not (Test-Path -LiteralPath (Join-Path (Join-Path $versions $back) '.complete'))) {
    Stop-Install "there is no earlier version in $Prefix"
  }
  Use-Version $back
  if ($now) { Set-Content -LiteralPath $previous -Encoding ASCII -Value $now }
  Write-Output "edge-xray $back is in use again."
  exit 0
}

$setting = @{}
foreach ($line in Get-Content -LiteralPath (Join-Path $kit 'kit.env')) {
  $name, $value = $line -split '=', 2
  $setting[$name] = $value
}
$id = $setting['KIT_ID']
if (-not $id) { Stop-Install "$kit\kit.env names no version; unpack the kit again" }

$sums = @(Get-Content -Encoding UTF8 -LiteralPath (Join-Path $kit 'SHA256SUMS'))
if ($sums.Count -eq 0) { Stop-Install 'SHA256SUMS is empty; copy the kit again' }
foreach ($line in $sums) {
  $digest, $name = $line -split '  ', 2
  $path = Join-Path $kit $name
  if (-not (Test-Path -LiteralPath $path)) { Stop-Install "${name} is missing; copy the kit again" }
  if ((Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash -ne $digest) {
    Stop-Install "${name}: its content is not what was packed; copy the kit again"
  }
}

# Runs a Python program quietly; what it printed, or nothing if it failed.
function Invoke-Quietly([string[]]$Command, [string]$Code, [string[]]$Rest = @()) {
  # Windows PowerShell 5.1 takes a redirected line on stderr for an error of the script's own.
  $ErrorActionPreference = 'Continue'
  $program = $Command[0]
  $before = @($Command | Select-Object -Skip 1)
  if (-not (Get-Command $program -ErrorAction SilentlyContinue)) { return }
  $said = & $program @before -c $Code @Rest 2>$null
  if ($LASTEXITCODE -eq 0) { return $said }
}

$wanted = $setting['KIT_PYTHON']
# Python is called by these words from here on, not by its path: where a user's name has an accent, it
# prints that in another code page than PowerShell reads.
$python = $null
foreach ($candidate in @(@('py', "-$wanted"), @('python'), @('python3'))) {
  $found = Invoke-Quietly $candidate "import sys; print('%d.%d' % sys.version_info[:2])"
  if ($found -eq $wanted) {
    $python = @($candidate)
    break
  }
}
if (-not $python) {
  Stop-Install "this kit is for Python $wanted, which is not on this machine; install it, or build a kit for the one that is"
}
$machine = Invoke-Quietly $python 'import platform; print(platform.machine())'
if (($setting['KIT_MACHINES'] -split ' ') -notcontains $machine) {
  Stop-Install "this kit is for $($setting['KIT_TITLE']); this machine's Python is for $machine"
}

$version = Join-Path $versions $id
if (-not (Test-Path -LiteralPath (Join-Path $version '.complete'))) {
  # What an installation that was cut off left behind goes first.
  if (Test-Path -LiteralPath $version) { Remove-Item -Recurse -Force -LiteralPath $version }
  New-Item -ItemType Directory -Force $version | Out-Null
  $free = [int64](Invoke-Quietly $python 'import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)' @($version))
  $needs = [int64]$setting['KIT_NEEDS_BYTES']
  if ($free -lt $needs) {
    Remove-Item -Recurse -Force -LiteralPath $version
    Stop-Install "$([math]::Floor($free / 1e6)) MB free, $([math]::Ceiling($needs / 1e6)) MB needed at $Prefix; nothing was changed"
  }
  Write-Output "Installing edge-xray $id into $Prefix"
  $program = $python[0]
  $before = @($python | Select-Object -Skip 1)
  & $program @before -m venv --without-pip (Join-Path $version 'venv')
  if ($LASTEXITCODE -ne 0) { Stop-Install 'Python could not make an environment; nothing was changed' }
  $pip = @(Get-ChildItem -LiteralPath (Join-Path $kit 'tools') -Filter 'pip-*.whl')[0].FullName
  & (Join-Path $version 'venv\Scripts\python.exe') "$pip\pip" --isolated --disable-pip-version-check `
    --no-cache-dir --quiet install --no-index --find-links (Join-Path $kit 'wheels') `
    --require-hashes --no-deps -r (Join-Path $kit 'requirements.txt')
  if ($LASTEXITCODE -ne 0) { Stop-Install 'the packages could not be installed; nothing was changed' }
  $tools = @('wheels', 'tools', 'install.sh', 'install.ps1')
  Get-ChildItem -LiteralPath $kit | Where-Object { $tools -notcontains $_.Name } | Copy-Item -Recurse -Destination $version
}
& (Join-Path $version 'venv\Scripts\edge-xray.exe') self-test
if ($LASTEXITCODE -ne 0) {
  Remove-Item -Force -ErrorAction SilentlyContinue -LiteralPath (Join-Path $version '.complete')
  Stop-Install 'this version failed its self-test; run this again to install it anew'
}
New-Item -ItemType File -Force (Join-Path $version '.complete') | Out-Null

$now = Read-Version $current
if ($now -and $now -ne $id) { Set-Content -LiteralPath $previous -Encoding ASCII -Value $now }
Use-Version $id
$keep = @($id, (Read-Version $previous))
# One that a watch still runs from goes with the next installation.
Get-ChildItem -LiteralPath $versions | Where-Object { $keep -notcontains $_.Name } |
  Remove-Item -Recurse -Force -ErrorAction SilentlyContinue
if (-not $setting['KIT_TRY_SAMPLES']) {
  Write-Output "Done. Try it in a Command Prompt: `"$command`" scan FOLDER-OF-FILMS"
  exit 0
}
Write-Output "Done. Try it in a Command Prompt: `"$command`" scan `"$version\samples`""
