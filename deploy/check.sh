# `lantern check` as the service of lantern.service: its command, user, folder and credentials. Run by root.
command=$(systemctl cat lantern.service | sed -nE 's/^ExecStart=.* (run|serve)( .*)?$/\1/p' | tail -n 1)
properties='DynamicUser|StateDirectory(Mode)?|UMask|LoadCredential(Encrypted)?'
exec systemd-run --pipe --quiet --wait --collect --property=User=lantern \
    $(systemctl cat lantern.service | sed -nE "s/^($properties)=/--property=&/p") \
    /opt/lantern/.venv/bin/lantern check $command --config /etc/lantern/config.yaml
