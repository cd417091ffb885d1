from programs.agreed import *
