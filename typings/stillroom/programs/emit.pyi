from programs.emit import *
