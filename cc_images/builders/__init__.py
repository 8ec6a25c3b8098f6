"""Programs that build trees and disks. `dib` is one."""
