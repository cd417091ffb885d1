from programs.module import *
