from programs.export import *
